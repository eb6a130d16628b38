"""The machines: masks equal brute force, and C++ equals Python."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.native_machine import NativeMachine, NativeVocabulary
from sglang_lang.constrained.network import Network
from sglang_lang.constrained.regex_grammar import choices_network, regex_network
from sglang_lang.constrained.vocabulary import Vocabulary
from tests.constrained.byte_grammar import (
    EOS,
    VOCABULARY,
    admits,
    allowed,
    json_network,
    native_machine,
    python_machine,
)

PATTERNS = [
    "(ab|cd)*e?",
    "a{2,5}b{0,3}",
    r"\w{1,200}",
    ".{0,500}x",
    "(a|b)*a(a|b){15}",
    "(a*)*b",
    "日本|日曜|é+",
    r"(?=.*\d)[a-z\d]{3,6}",
    '"[^"\\\\]{0,1000}"',
    "[a-z ]{0,40}1",  # counts around the longest token, where masks differ from one to the next
    r"\w{18,30}(,\w{4,20}){0,9}",
    '[^"]{6,9}"[^"]{20,}"',
    r"(?=.{5,40}$)[a-z]+1?",
    ".*[0-9a-f]{32}.*(?=a|b)[abc]",
    '("x{40}"|"[a-f]{20}.{30,}")+',
    r"(?!.{0,30}$).{0,33}",  # far from its end only what is longer than the counts is left
]
REGEXES = st.recursive(
    st.sampled_from(["a", "b", "ab", "[ab]", ".", r"\w", "[^a]", '"', "日", r"\d", "(?=a|.b)"]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from("* + ? {2,7} {0,40} {19,}".split())),
    ),
    max_leaves=5,
)
LONG_WORDS = [
    bytes(np.random.default_rng(seed).integers(97, 123, 16, np.uint8)) for seed in range(5000)
]
SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "string"}}},
    {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
    {"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b", "aa", 1, 0, -1]}},
    {"type": "array", "contains": {"const": 1}, "maxContains": 2, "items": {"type": "integer"}},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "string", "maxLength": 3}]},
    {"patternProperties": {"^a": {"type": "integer"}}, "minProperties": 1, "type": "object"},
]


def networks() -> list[Network]:
    return [*map(regex_network, PATTERNS), *map(json_network, SCHEMAS)]


@pytest.mark.parametrize("index", range(len(PATTERNS) + len(SCHEMAS)))
def test_both_machines_agree_with_trying_every_token(index: int) -> None:
    network = networks()[index]
    python, native = python_machine(network), native_machine(network)
    rng = np.random.default_rng(index)
    state, native_state = python.start, native.start
    for _ in range(30):
        tried = [
            token_id
            for token_id, token in enumerate(VOCABULARY.token_bytes)
            if token and python.advance(state, token)
        ]
        assert allowed(python, state) == allowed(native, native_state) == tried
        assert python.forced(state) == native.forced(native_state)
        assert python.is_accepting(state) == native.is_accepting(native_state)
        assert (
            python.is_finished(state)
            == native.is_finished(native_state)
            == (python.is_accepting(state) and not tried)
        )
        if not tried:
            break
        token = VOCABULARY.token_bytes[int(rng.choice(tried))]
        assert token is not None
        state, native_state = python.advance(state, token), native.advance(native_state, token)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(REGEXES, st.integers(0, 2**32 - 1))
def test_masks_of_any_regex_are_the_tokens_that_can_be_taken(pattern: str, seed: int) -> None:
    try:
        machine = native_machine(regex_network(pattern))
    except GrammarError:  # an assertion in a repeat, or one that nothing satisfies
        reject()
    state, rng = machine.start, np.random.default_rng(seed)
    for _ in range(6):
        tried = [t for t in range(VOCABULARY.size) if machine.advance_token(state, t)]
        assert allowed(machine, state) == tried
        assert tried or machine.is_finished(state)
        if not tried:
            break
        state = machine.advance_token(state, int(rng.choice(tried)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.text('ab日é"\\', max_size=6), min_size=1, max_size=8))
def test_choices_are_exactly_the_given_strings(choices: list[str]) -> None:
    machine = native_machine(choices_network(choices))
    for text in ["", "a", "ab", *choices, *(choice + "a" for choice in choices)]:
        assert admits(machine, text) == (text in choices)


def test_a_part_of_a_character_is_followed_by_its_rest() -> None:
    machine = native_machine(regex_network("日"))
    state = machine.advance(machine.start, "日".encode()[:1])
    texts = [VOCABULARY.token_bytes[token_id] for token_id in allowed(machine, state)]
    assert texts == ["日".encode()[1:2]]


def test_counts_beyond_the_longest_token_share_a_mask() -> None:
    machine = native_machine(regex_network("[ab]{0,500}"))
    near, far = machine.advance(machine.start, b"a"), machine.advance(machine.start, b"a" * 300)
    end = machine.advance(machine.start, b"a" * 495)
    assert near != far and allowed(machine, near) == allowed(machine, far)
    assert allowed(machine, end) != allowed(machine, far)


def test_special_tokens_lead_nowhere() -> None:
    machine = native_machine(regex_network("(.|\n)*"))
    assert machine.advance_token(machine.start, EOS) == 0


def test_an_automaton_without_bounds_is_followed_in_bounded_time_and_memory() -> None:
    wide = "(.*[a-m].{17}|.*[b-z].{18}|.*[aeiou].{19}|.*[a-z].{21}x)"  # 2**60 states
    vocabulary = Vocabulary.from_token_bytes(
        [*(bytes([b]) for b in range(256)), *LONG_WORDS, None], [256 + len(LONG_WORDS)]
    )
    network = regex_network(wide)
    machine = NativeMachine(lambda: network, NativeVocabulary(vocabulary))
    state = machine.advance(machine.start, b"k")
    bitmask = np.zeros((1, vocabulary.row_len), np.int32)
    started = time.thread_time()
    for byte in b"any text can be spelled, if not by every token" * 3:
        machine.fill(state, bitmask, 0)
        assert bitmask[0, byte // 32] >> (byte % 32) & 1
        state = machine.advance(state, bytes((byte,)))
    assert state
    assert time.thread_time() - started < 60  # a bound on hostile input, not a measurement
