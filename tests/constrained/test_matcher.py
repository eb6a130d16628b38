"""The matcher over native grammars: tokens, EOS, rollback, forks, withheld bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sglang_lang.constrained.batch import fill_batch
from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.matcher import GrammarMatcher, whole_characters
from tests.constrained.byte_grammar import EOS, VOCABULARY, WORDS, token_ids

COMPILER = GrammarCompiler(VOCABULARY)


def regex(pattern: str) -> GrammarMatcher:
    return COMPILER.compile("regex", pattern).matcher()


def feed(matcher: GrammarMatcher, text: bytes) -> bool:
    return all(matcher.accept_token(byte) for byte in text)


def allowed(matcher: GrammarMatcher) -> set[int]:
    rows = np.full((2, VOCABULARY.row_len), -1, np.int32)
    matcher.fill_next_token_bitmask(rows, 1)
    assert (rows[0] == -1).all()
    return set(token_ids(rows[1]))


def test_eos_is_allowed_exactly_where_the_text_is_complete() -> None:
    matcher = regex("ab?")
    assert not matcher.accept_token(EOS)
    assert feed(matcher, b"a") and allowed(matcher) == {ord("b"), EOS}
    assert matcher.is_accepting() and not matcher.is_terminated()
    assert matcher.accept_token(EOS) and matcher.is_terminated()
    assert allowed(matcher) == set()


def test_complete_with_no_way_on_is_terminated_without_eos() -> None:
    matcher = regex("ab?")
    assert feed(matcher, b"ab") and matcher.is_terminated() and allowed(matcher) == {EOS}


def test_a_refused_token_changes_nothing() -> None:
    matcher = regex("ab")
    assert not matcher.accept_token(ord("b"))
    assert feed(matcher, b"ab")


def test_rollback_and_fork() -> None:
    matcher = regex("(ab|cd)+")
    feed(matcher, b"ab")
    copy = matcher.fork()
    copy.rollback(1)
    assert feed(copy, b"bcd") and feed(matcher, b"ab")
    matcher.rollback(4)
    assert feed(matcher, b"cd")
    with pytest.raises(ValueError, match="only 2"):
        matcher.rollback(3)


def test_withheld_bytes_come_first() -> None:
    matcher = regex("ab[cd]|abc+|xyz")
    matcher.require_prefix(b"ab")
    ab, abc = (257 + WORDS.index(word) for word in (b"ab", b"abc"))
    assert allowed(matcher) == {ord("a"), ab, abc}
    assert matcher.forced() == b"ab" and not matcher.is_accepting()
    assert not matcher.accept_token(ord("x"))
    assert feed(matcher, b"a") and allowed(matcher) == {ord("b")}
    assert feed(matcher, b"b") and allowed(matcher) == {ord("c"), ord("d")}
    matcher.rollback(2)
    assert allowed(matcher) == {ord("a"), ab, abc}


def test_forced_text_stops_at_a_choice_an_end_or_half_a_character() -> None:
    assert regex("abc(d|e)").forced() == b"abc"
    assert regex("ab(cd)?").forced() == b"ab"
    assert regex("日[本]").forced() == "日本".encode()
    assert regex("aé|aè").forced() == b"a"
    assert whole_characters("日本".encode()[:-1]) == "日".encode()


def test_a_chain_of_required_keys_is_forced_through_nested_values() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"type": "null"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    matcher = COMPILER.compile("json_schema", json.dumps(schema)).matcher()
    assert matcher.forced() == b'{"a": 1, "b": null}'
    assert feed(matcher, matcher.forced()) and matcher.is_terminated()


def test_a_batch_is_filled_like_its_matchers_one_by_one() -> None:
    ended = regex("a")
    assert feed(ended, b"a") and ended.accept_token(EOS)
    withheld = regex("ab[cd]")
    withheld.require_prefix(b"ab")
    schema = json.dumps({"properties": {"a": {"type": "integer"}}, "type": "object"})
    matchers = [
        regex("ab?"),
        None,
        ended,
        withheld,
        COMPILER.compile("json_schema", schema).matcher(),
    ]
    matchers.append(COMPILER.compile("ebnf", 'start: "x"+').matcher())
    rows = np.full((len(matchers), VOCABULARY.row_len), -1, np.int32)
    expected = rows.copy()
    fill_batch(matchers, rows)
    for row, matcher in enumerate(matchers):
        if matcher is not None:
            matcher.fill_next_token_bitmask(expected, row)
    assert (rows == expected).all()
