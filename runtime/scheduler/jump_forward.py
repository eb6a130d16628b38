"""Jump-forward: text that the grammar forces is appended as tokens without being decoded.

The forced bytes are tokenised together with the last word of the output, so that token borders
fall where the model expects them, and a last token is given back while the grammar still admits a
longer one in its place (selective healing). The idea is the SGLang paper's (section 4); the
healing follows from measuring how often plain retokenisation is not canonical.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.constrained.vocabulary import Vocabulary

from .req import MAX_RETOKENIZED, Req

MAX_HEALED = 2  # most tokens given back
MAX_KNOWN_TEXTS = 1024  # whose tokens are remembered: one schema forces the same texts again


class Retokenizer(Protocol):
    """What jump-forward needs of a tokenizer."""

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
        vocabulary: its tokens, as the grammars know them.
    """

    def __init__(self, tokenizer: Retokenizer, vocabulary: Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._token_bytes = vocabulary.token_bytes
        self._bitmask = np.zeros((1, vocabulary.row_len), dtype=np.int32)
        self._spelled = lru_cache(MAX_KNOWN_TEXTS)(self._spell)

    def jump(self, req: Req) -> Jump | None:
        """Move the request's matcher over the text it forces; None if it forces no whole token."""
        matcher = req.matcher
        assert matcher is not None
        forced = matcher.forced()
        if not forced:
            return None
        output_len = req.known_output_len
        tail = self._tail(req)
        ids = self._spelled(self._bytes(tail) + forced)
        if ids is None:
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
            extending = self._vocabulary.extending(longer)
            if place == req.healed_at or not len(extending):
                break
            matcher.rollback(1)
            if not self._allows_one_of(matcher, extending):
                matcher.accept_token(last)
                break
            kept, withheld = kept[:-1], longer
            req.healed_at = place
        if withheld:
            matcher.require_prefix(withheld)
        return kept

    def _allows_one_of(self, matcher: GrammarMatcher, ids: npt.NDArray[np.int32]) -> bool:
        """Whether the mask admits one of the tokens ``ids``."""
        matcher.fill_next_token_bitmask(self._bitmask, 0)
        return bool((self._bitmask[0, ids >> 5] >> (ids & 31) & 1).any())

    def _spell(self, text: bytes) -> list[int] | None:
        """The tokens of a text; None if the vocabulary has none for some byte of it."""
        ids = self._tokenizer.encode_continuation(text.decode())
        return ids if self._bytes(ids) == text else None

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
