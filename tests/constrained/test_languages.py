"""Questions about languages: C++ answers as Python does, and as trying every short text does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.constrained import derivatives, languages
from sglang_lang.constrained.errors import UnsupportedGrammarError
from sglang_lang.constrained.native_languages import NativeLanguages
from sglang_lang.constrained.regex_tree import (
    EPSILON,
    NOTHING,
    Node,
    alternate,
    byte_range,
    complement,
    concat,
    intersect,
    literal,
    one_of,
    repeat,
    table,
)

EVEN = table((((97, 1),), ((97, 0), (98, 1))), frozenset((0,)))  # automaton: an even number of a
LEAVES = st.sampled_from(
    [
        EPSILON,
        NOTHING,
        EVEN,
        literal("a"),
        literal("ab"),
        byte_range(97, 98),
        one_of([b"a", b"abb", b""]),
        one_of([b"ba", b"bb"]),
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(concat, inner, inner),
        st.builds(alternate, inner, inner),
        st.builds(intersect, inner, inner),
        st.builds(complement, inner),
        st.builds(repeat, inner, st.integers(0, 3), st.sampled_from([None, 3, 5])),
    ),
    max_leaves=6,
)


def texts() -> Iterator[bytes]:
    """Every text of up to four of two letters."""
    for length in range(5):
        for letters in product(b"ab", repeat=length):
            yield bytes(letters)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TREES)
def test_both_sides_agree(node: Node) -> None:
    native = NativeLanguages()
    assert native.is_empty(node) == derivatives.is_empty(node) == languages.is_empty(node)
    for limit in (1, 7):
        count = derivatives.count_words(node, limit)
        assert native.count_words(node, limit) == count == languages.count_words(node, limit)
    for text in texts():
        assert native.matches(node, text) == derivatives.matches(node, text)
    found = [text for text in texts() if languages.matches(node, text)]
    assert not (found and native.is_empty(node))
    assert native.count_words(node, 1000) >= len(found)


def test_equal_languages_handed_over_twice_are_one_number() -> None:
    native = NativeLanguages()
    node = concat(literal("x"), repeat(byte_range(97, 98), 2, 9))
    number = native.number(node)
    size = native.num_nodes
    assert native.number(concat(literal("x"), repeat(byte_range(97, 98), 2, 9))) == number
    assert native.num_nodes == size


@pytest.mark.parametrize("ask", [NativeLanguages().is_empty, derivatives.is_empty])
def test_what_is_too_hard_to_tell_is_an_error(ask: Callable[[Node], bool]) -> None:
    cycles = [repeat(literal("a" * prime), 1, None) for prime in (3, 7, 11, 13, 17)]
    with pytest.raises(UnsupportedGrammarError, match="too large"):
        ask(intersect(*cycles))  # the shortest text has 51,051 letters


def test_deep_nesting_is_refused() -> None:
    node: Node = literal("a")
    for _ in range(5000):
        node = complement(concat(repeat(node, 0, 1), literal("b")))
    with pytest.raises(UnsupportedGrammarError, match="nested too deeply"):
        NativeLanguages().number(node)
