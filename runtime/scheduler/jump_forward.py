"""Jump-forward: text that the grammar forces is appended as tokens without being decoded.

The forced bytes are tokenised together with the last word of the output, so that token borders
fall where the model expects them, and a last token is given back while the grammar still admits a
longer one in its place (selective healing). The idea is the SGLang paper's (section 4); the
healing follows from measuring how often plain retokenisation is not canonical.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from sglang_lang.constrained.matcher import GrammarMatcher

from .req import MAX_RETOKENIZED, Req

MAX_HEALED = 2  # most tokens given back


class Retokenizer(Protocol):
    """What jump-forward needs of a tokenizer."""

    @property
    def token_bytes(self) -> Sequence[bytes | None]: ...

    def encode_continuation(self, text: str) -> list[int]:
        """Tokens of text that goes on a text already begun: no BOS, no dummy prefix."""
        ...


class Jump(NamedTuple):
    """The output becomes its first ``kept`` tokens followed by ``new_ids``."""

    kept: int
    new_ids: list[int]


class JumpForward:
    """Finds the tokens of forced text.

    Args:
        tokenizer: of the served model.
        vocab_size: number of logits.
    """

    def __init__(self, tokenizer: Retokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._token_bytes = tokenizer.token_bytes
        self._token_lens = np.zeros(vocab_size, dtype=np.int32)
        self._token_lens[: len(self._token_bytes)] = [len(b or b"") for b in self._token_bytes]
        self._bitmask = np.zeros((1, -(-vocab_size // 32)), dtype=np.int32)

    def jump(self, req: Req) -> Jump | None:
        """Move the request's matcher over the text it forces; None if it forces no whole token."""
        matcher = req.matcher
        assert matcher is not None
        forced = matcher.forced()
        if not forced:
            return None
        output_len = req.known_output_len
        tail = self._tail(req)
        text = self._bytes(tail) + forced
        ids = self._encode(text)
        if self._bytes(ids) != text:  # the vocabulary has no token for some byte of it
            return None
        shared = _common_prefix(tail, ids)
        matcher.rollback(len(tail) - shared)
        for count, token_id in enumerate(ids[shared:]):
            if not matcher.accept_token(token_id):  # a limit of another engine
                matcher.rollback(count)
                for given_back in tail[shared:]:
                    matcher.accept_token(given_back)
                return None
        before_tail = output_len - len(tail)
        if not matcher.is_terminated():
            ids = self._heal(req, matcher, ids, shared, before_tail)
        if ids == tail:
            return None
        return Jump(before_tail + shared, ids[shared:])

    def _tail(self, req: Req) -> list[int]:
        """The last constrained tokens, from the latest one that surely starts a word.

        Free text, such as reasoning before the constraint, stays as the model wrote it.
        """
        assert req.matcher is not None
        output_len = req.known_output_len
        constrained = min(req.matcher.num_constrained, output_len)
        for length in range(1, min(constrained, MAX_RETOKENIZED) + 1):
            at = len(req.tokens) - length
            first = self._token_bytes[req.tokens[at]]
            if first is None:
                break
            before = self._token_bytes[req.tokens[at - 1]] if length < output_len else None
            if length == constrained or _starts_word(before, first):
                return req.tokens[at:].tolist()
        return []

    def _heal(
        self, req: Req, matcher: GrammarMatcher, ids: list[int], shared: int, before_tail: int
    ) -> list[int]:
        """Give back last tokens while an allowed token strictly extends them.

        What the model chose itself is never given back, nor is the same text twice at one place:
        the model may well prefer the short token.
        """
        kept = ids
        withheld = b""
        for _ in range(min(MAX_HEALED, len(ids) - shared)):
            last = kept[-1]
            longer = (self._token_bytes[last] or b"") + withheld
            place = (before_tail + len(kept), longer)
            matcher.rollback(1)
            matcher.require_prefix(longer)
            if place == req.healed_at or not self._can_extend(matcher, len(longer)):
                matcher.accept_token(last)
                break
            kept, withheld = kept[:-1], longer
            req.healed_at = place
        return kept

    def _can_extend(self, matcher: GrammarMatcher, length: int) -> bool:
        """Whether the mask admits a token of more than ``length`` bytes."""
        matcher.fill_next_token_bitmask(self._bitmask, 0)
        bits = np.unpackbits(self._bitmask.view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[: len(self._token_lens)])
        return bool((self._token_lens[allowed] > length).any())

    def _encode(self, data: bytes) -> list[int]:
        return self._tokenizer.encode_continuation(data.decode())

    def _bytes(self, ids: list[int]) -> bytes:
        return b"".join(self._token_bytes[token_id] or b"" for token_id in ids)


def _starts_word(before: bytes | None, token: bytes) -> bool:
    """Whether every tokenizer splits the text in front of this token before it looks for tokens.

    They split in front of a space, and between a letter or digit and punctuation; not always
    between punctuation and what follows it.
    """
    if token[:1] in (b" ", b"\t"):
        return True
    return (
        before is not None
        and before[-1:].isalnum()
        and token[:1].isascii()
        and (not token[:1].isalnum())
    )


def _common_prefix(a: list[int], b: list[int]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
