"""The llguidance backend behind the matcher protocol, on bytes and a few words as tokens."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.constrained.backend import JsonSchema
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.llguidance_backend import LLGuidanceBackend, LLGuidanceMatcher
from sglang_lang.constrained.matcher import whole_characters
from sglang_lang.constrained.native_backend import NativeBackend
from sglang_lang.constrained.structural_tag import parse_structural_tag
from sglang_lang.constrained.vocabulary import Vocabulary

EOS = 256
WORDS = [b'": "', b'{"name', b"name", b'"}', b"abc", b"abd", "é".encode(), "日本".encode()]
TOKENS: list[bytes | None] = [*(bytes([byte]) for byte in range(256)), None, *WORDS]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "mark": {"enum": ["abc", "abd"]}},
    "required": ["name", "mark"],
    "additionalProperties": False,
}


VOCABULARY = Vocabulary.from_token_bytes(TOKENS, [EOS])
NATIVE, LLGUIDANCE = NativeBackend(VOCABULARY), LLGuidanceBackend(VOCABULARY)


@pytest.fixture
def backend() -> LLGuidanceBackend:
    return LLGUIDANCE


def feed(matcher: LLGuidanceMatcher, text: bytes) -> bool:
    return all(matcher.accept_token(byte) for byte in text)


def allowed(matcher: LLGuidanceMatcher) -> set[int]:
    row: npt.NDArray[np.int32] = np.zeros((1, (len(TOKENS) + 31) // 32), np.int32)
    matcher.fill_next_token_bitmask(row, 0)
    bits = np.unpackbits(row[0].view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits).tolist())


def test_schema_forces_the_keys_in_the_given_style(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_json_schema(JsonSchema.of(PERSON), JsonOptions()).matcher()
    assert matcher.forced() == b'{"name": "'
    assert feed(matcher, b'{"name": "x"')
    assert matcher.forced() == b', "mark": "ab'
    assert feed(matcher, b', "mark": "abd"}')
    assert matcher.is_accepting() and matcher.is_terminated()
    assert allowed(matcher) == {EOS}


def test_mask_is_exactly_the_tokens_that_are_accepted(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_json_schema(JsonSchema.of(PERSON), JsonOptions()).matcher()
    for text in (b"", b'{"', b"na", b'me": "q', b'", "mark": "', b"ab"):
        feed(matcher, text)
        accepted = {token for token in range(len(TOKENS)) if matcher.fork().accept_token(token)}
        assert allowed(matcher) == accepted


def test_a_refused_token_changes_nothing(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_regex("ab?").matcher()
    assert not matcher.accept_token(ord("x"))
    assert not matcher.accept_token(EOS)
    assert feed(matcher, b"a")
    assert allowed(matcher) == {ord("b"), EOS}


def test_rollback_takes_back_tokens_and_eos(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_regex("ab?").matcher()
    feed(matcher, b"a")
    assert matcher.accept_token(EOS) and matcher.is_terminated()
    assert not matcher.accept_token(EOS)
    matcher.rollback(1)
    assert allowed(matcher) == {ord("b"), EOS}
    matcher.rollback(1)
    assert allowed(matcher) == {ord("a")}
    with pytest.raises(ValueError, match="only 0"):
        matcher.rollback(1)


def test_fork_is_independent(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_regex("(ab|cd)+").matcher()
    copy = matcher.fork()
    assert feed(copy, b"ab") and feed(matcher, b"cd")
    copy.rollback(2)
    assert feed(copy, b"c") and feed(matcher, b"a")


def test_required_prefix_bounds_the_mask_until_it_is_spelled(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_regex("ab[cd]|abc+|xyz").matcher()
    matcher.require_prefix(b"ab")
    abc, abd = 257 + WORDS.index(b"abc"), 257 + WORDS.index(b"abd")
    assert allowed(matcher) == {ord("a"), abc, abd}
    assert not matcher.accept_token(ord("x"))
    assert matcher.forced() == b"ab"
    assert feed(matcher, b"a")
    assert allowed(matcher) == {ord("b")}
    assert feed(matcher, b"b")
    assert allowed(matcher) == {ord("c"), ord("d")}
    matcher.rollback(1)
    assert allowed(matcher) == {ord("b")}


def test_forced_text_ends_at_a_whole_character(backend: LLGuidanceBackend) -> None:
    matcher = backend.compile_regex("aé|aè").matcher()
    assert matcher.forced() == b"a"
    assert whole_characters("日本".encode()) == "日本".encode()
    assert whole_characters("日本".encode()[:-1]) == "日".encode()
    assert whole_characters(b"") == b""


def test_grammar_in_lark_and_in_gbnf(backend: LLGuidanceBackend) -> None:
    for grammar in ('start: "a" start "b" | "c"', 'root ::= "a" root "b" | "c"'):
        matcher = backend.compile_ebnf(grammar).matcher()
        assert feed(matcher, b"aacbb") and matcher.is_terminated()


def test_choices_may_hold_any_character(backend: LLGuidanceBackend) -> None:
    choices = ['say "hi"', "back\\slash", "é\n"]
    for choice in choices:
        matcher = backend.compile_choices(choices).matcher()
        assert feed(matcher, choice.encode()) and matcher.is_accepting()


def test_structural_tag_constrains_only_the_sections(backend: LLGuidanceBackend) -> None:
    tag = parse_structural_tag(
        {
            "structures": [{"begin": "<fn=f>", "schema": PERSON, "end": "</fn>"}],
            "triggers": ["<fn="],
        }
    )
    matcher = backend.compile_structural_tag(tag, JsonOptions()).matcher()
    assert feed(matcher, b"I call <fn=")
    assert matcher.forced().startswith(b'f>{"name": "')
    assert feed(matcher, b'f>{"name": "x", "mark": "abc"}</fn> done')
    assert matcher.is_accepting()


@pytest.mark.parametrize(
    "schema", [{"not": {"type": "string"}}, {"type": "string", "pattern": "("}, {"$ref": "#/x"}]
)
def test_what_it_cannot_enforce_is_refused(
    backend: LLGuidanceBackend, schema: dict[str, Any]
) -> None:
    with pytest.raises(GrammarError):
        backend.compile_json_schema(JsonSchema.of(schema), JsonOptions())


@pytest.mark.parametrize("grammar", ["", "root ::= (", "start: undefined_rule", "start: /(/"])
def test_a_wrong_grammar_is_an_error(backend: LLGuidanceBackend, grammar: str) -> None:
    with pytest.raises(GrammarError):
        backend.compile_ebnf(grammar)


def test_walks_through_the_masks_validate(backend: LLGuidanceBackend) -> None:
    rng = np.random.default_rng(7)
    grammar = backend.compile_json_schema(JsonSchema.of(PERSON), JsonOptions())
    for _ in range(20):
        matcher, text = grammar.matcher(), b""
        while not matcher.is_terminated():
            token = int(rng.choice(sorted(allowed(matcher))))
            assert matcher.accept_token(token)
            text += TOKENS[token] or b""
            if len(text) > 200:
                break
        else:
            jsonschema.validate(json.loads(text), PERSON)


PLAIN = st.recursive(
    st.sampled_from(["a", "b", "ab", "[ab]", ".", "[^a]", '"', "日", "[é-日]", r"[^\n\"]", "abc"]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from("* + ? {2,7} {0,40} {19,}".split())),
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PLAIN, st.integers(0, 2**32 - 1))
def test_our_own_masks_are_llguidances(pattern: str, seed: int) -> None:
    rows = np.zeros((2, VOCABULARY.row_len), np.int32)
    ours = NATIVE.compile_regex(pattern).matcher()
    theirs = LLGUIDANCE.compile_regex(pattern).matcher()
    rng = np.random.default_rng(seed)
    for _ in range(10):
        ours.fill_next_token_bitmask(rows, 0)
        theirs.fill_next_token_bitmask(rows, 1)
        assert (rows[0] == rows[1]).all(), pattern
        assert ours.is_terminated() == theirs.is_terminated()
        if ours.is_terminated():
            break
        bits = np.unpackbits(rows[0].view(np.uint8), bitorder="little")
        token_id = int(rng.choice(np.flatnonzero(bits)))
        assert ours.accept_token(token_id) and theirs.accept_token(token_id)
