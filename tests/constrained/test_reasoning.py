"""Reasoning before a constraint, with tokens that would cross the border between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.constrained.reasoning import ReasoningMatcher
from sglang_lang.constrained.vocabulary import Vocabulary

EOS, SPECIAL = 256, 257
END = "<e><e>x"  # it overlaps itself
WORDS = [b"<e>", b"e><", b">x", b">x{", b"x[", b"<e><e>x", b"a<e><e>xa", b"<e><e>", b"ab", b"b"]
TOKENS: list[bytes | None] = [*(bytes([b]) for b in range(256)), None, None, *WORDS]
SPELLED = [token or b"" for token in TOKENS]
SPELLED[EOS], SPELLED[SPECIAL] = b"<eos>", b"<e><e>x"
VOCABULARY = Vocabulary.from_token_bytes(TOKENS, [EOS])
COMPILER = GrammarCompiler(VOCABULARY, spelled=SPELLED)


def new_matcher() -> ReasoningMatcher:
    return ReasoningMatcher(COMPILER.reasoning_end(END), COMPILER.compile("regex", "ab+").matcher())


def allowed(matcher: GrammarMatcher) -> set[int]:
    row = np.zeros((1, VOCABULARY.row_len), np.int32)
    matcher.fill_next_token_bitmask(row, 0)
    bits = np.unpackbits(row[0].view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits[: len(TOKENS)]).tolist())


def text_of(ids: list[int]) -> bytes:
    return b"".join(SPELLED[token_id] for token_id in ids)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*range(SPECIAL, len(TOKENS)), *b"<e>xab"]), max_size=12))
def test_the_mask_is_what_is_accepted_and_the_text_is_reasoning_then_grammar(
    ids: list[int],
) -> None:
    matcher, written = new_matcher(), b""
    for token_id in ids:
        accepted = {i for i in range(len(TOKENS)) if matcher.fork().accept_token(i)}
        assert allowed(matcher) == accepted
        if END.encode() not in written:
            after = written + SPELLED[token_id]
            crosses = END.encode() in after and not after.endswith(END.encode())
            crosses |= after.count(END.encode()) > 1
            assert (token_id in accepted) == (not crosses)
        if matcher.accept_token(token_id):
            written += SPELLED[token_id]
    answer = written.partition(END.encode())[2]
    assert matcher.is_accepting() == (answer.startswith(b"ab") and set(answer[1:]) == {ord("b")})


def test_the_output_cannot_end_while_it_reasons() -> None:
    matcher = new_matcher()
    assert EOS not in allowed(matcher) and not matcher.accept_token(EOS)
    assert matcher.forced() == b"" and not matcher.is_terminated()
    for token_id in (SPECIAL, ord("a"), ord("b")):
        assert not matcher.is_accepting() and matcher.accept_token(token_id)
    assert matcher.accept_token(EOS) and matcher.is_terminated()


def test_what_follows_is_forced_as_in_the_grammar() -> None:
    matcher = new_matcher()
    assert matcher.accept_token(SPECIAL)
    assert matcher.forced() == b"ab" and matcher.num_constrained == 0
    matcher.require_prefix(b"ab")
    assert allowed(matcher) == {ord("a"), TOKENS.index(b"ab")}


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_rollback_crosses_the_border(data: st.DataObject) -> None:
    ids = [ord("q"), ord("<"), SPECIAL, ord("a"), ord("b"), ord("b"), EOS]
    matcher = new_matcher()
    assert all(map(matcher.accept_token, ids))
    back = data.draw(st.integers(0, len(ids)))
    matcher.rollback(back)
    again = new_matcher()
    assert all(map(again.accept_token, ids[: len(ids) - back]))
    assert allowed(matcher) == allowed(again)
    assert matcher.num_constrained == again.num_constrained == max(0, len(ids) - back - 3)
    with pytest.raises(ValueError, match="rollback"):
        matcher.rollback(len(ids) - back + 1)


def test_a_fork_goes_its_own_way() -> None:
    matcher = new_matcher()
    assert matcher.accept_token(ord("<"))
    fork = matcher.fork()
    assert fork.accept_token(SPECIAL) and fork.accept_token(ord("a"))
    assert allowed(fork) != allowed(matcher)
    assert matcher.accept_token(ord("z"))
