"""Masks over many tokens, where parts of the trie are taken or left whole, equal brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.native_machine import NativeMachine, NativeVocabulary
from sglang_lang.constrained.network import Network
from sglang_lang.constrained.regex_grammar import regex_network
from sglang_lang.constrained.vocabulary import Vocabulary
from tests.constrained.byte_grammar import json_network, token_ids

PIECES = [*"aaabbbccc112 -,.", '"', '": ', "é", "日", "本", "\u2028", "\n", "name", "item"]
PATTERNS = [
    "[ab]{0,9}c",
    "[abc]{3,30}(-[abc]{1,4}){0,3}",
    '"[^"]{0,5}"[ab]*',
    r".{3,}\n?",
    "[^é]*",
    "[^日]*",
    "[^\u2028]+1",
    "é{2,}|日*",
    ".*bca.*",
    ".*(ab|1c).*(b|日)",
    "(.*1a|[^1]*b)",
    "(?!.*ab).*",
    "(?!(name|item|nam|abc)$).*",
    ".*[ab]{14}.*",
    "(?!.*[abc]{14}).*1",
    "(.*[ab].{2}|.*[bc].{3})",
    r"\w+( \w+){0,40}",
    "(a|b)*a(a|b){6}",
]
SCHEMAS: list[dict[str, Any]] = [
    {"type": "string", "maxLength": 7},
    {"type": "string", "minLength": 2, "maxLength": 40},
    {"type": "string", "pattern": "abc|1$"},
    {"type": "string", "pattern": "^[a-c1]+$", "maxLength": 12},
    {"type": "object", "patternProperties": {"[ab]{5}": {"type": "null"}}},
    {"type": "object", "properties": {"name": {}, "nam": {}, "item": {"type": "string"}}},
    {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": True},
]
REGEXES = st.recursive(
    st.sampled_from(["a", "bc", "[ab]", ".", r"\w", "[^a]", "[^é]", '"', "日", "(?=a|.b)"]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from("* + {2,7} {0,40} {19,}".split())),
    ),
    max_leaves=5,
)


def made_up_tokens(count: int) -> list[bytes]:
    """Texts of up to 30 characters, some of which begin or end within one."""
    rng = np.random.default_rng(5)
    tokens: set[bytes] = set()
    while len(tokens) < count:
        pieces = rng.choice(PIECES, 1 + int(rng.integers(12) ** 2 // 5))
        text = "".join(pieces.tolist()).encode()
        tokens.add(text[rng.integers(2) : len(text) - rng.integers(2)] or text)
    return sorted(tokens)


VOCABULARY = Vocabulary.from_token_bytes(
    [*(bytes([byte]) for byte in range(256)), *made_up_tokens(3000), None], [3256]
)
NATIVE = NativeVocabulary(VOCABULARY)


def check_masks(network: Network, seed: int, states: int) -> None:
    """Follows random tokens, and tries every token beside each mask on the way."""
    machine = NativeMachine(lambda: network, NATIVE)
    bitmask = np.zeros((1, VOCABULARY.row_len), np.int32)
    rng, state = np.random.default_rng(seed), machine.start
    for _ in range(states):
        machine.fill(state, bitmask, 0)
        tried = [t for t in range(VOCABULARY.size - 1) if machine.advance_token(state, t)]
        assert [t for t in token_ids(bitmask[0]) if t != VOCABULARY.size - 1] == tried
        if not tried:
            break
        state = machine.advance_token(state, int(rng.choice(tried)))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_of_patterns(pattern: str) -> None:
    for seed in range(2):
        check_masks(regex_network(pattern), seed, 8)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_masks_of_schemas(schema: dict[str, Any]) -> None:
    for seed in range(3):
        check_masks(json_network(schema), seed, 12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(REGEXES, st.integers(0, 2**32 - 1))
def test_masks_of_any_pattern(pattern: str, seed: int) -> None:
    try:
        network = regex_network(pattern)
    except GrammarError:  # an assertion in a repeat, or one that nothing satisfies
        reject()
    check_masks(network, seed, 4)


def test_masks_are_right_when_all_that_was_kept_is_given_up() -> None:
    native = NativeVocabulary(VOCABULARY)
    native.library.vocabulary_set_limits(native.handle, 1, 1)  # bytes
    machine = NativeMachine(lambda: regex_network('[^é]*"[ab]{0,9}c'), native)
    rows = np.zeros((2, VOCABULARY.row_len), np.int32)
    inside, after = machine.advance(machine.start, b"1"), machine.advance(machine.start, b'1"a')
    machine.fill(inside, rows, 0)
    machine.fill(after, rows, 1)
    machine.fill(inside, rows, 1)
    assert (rows[0] == rows[1]).all()


def test_a_mask_is_written_to_rows_that_are_there_and_long_enough() -> None:
    network = regex_network("a")
    machine = NativeMachine(lambda: network, NATIVE)
    bitmask = np.zeros((2, VOCABULARY.row_len), np.int32)
    for row in (2, -1):
        with pytest.raises(IndexError, match=f"row {row} "):
            machine.fill(machine.start, bitmask, row)
    wrong: Any
    for wrong in (bitmask[:, 1:], bitmask[0], bitmask.astype(np.int64)):
        with pytest.raises(ValueError, match="int32 words a row"):
            machine.fill(machine.start, wrong, 0)
    machine.fill(machine.start, bitmask, 1)
    assert ord("a") in token_ids(bitmask[1]) and not bitmask[0].any()
