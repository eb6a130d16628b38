"""The machines: masks equal brute force, and C++ equals Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.constrained.network import Network
from sglang_lang.constrained.regex_grammar import choices_network, regex_network
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
