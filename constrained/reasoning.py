"""Reasoning first, then the constraint: one state machine over any matcher.

Any text is allowed until the end of the reasoning has been written; from there on the grammar
rules. The output cannot stop before that, and a token cannot carry text across the border, so no
way leads around the grammar.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .matcher import GrammarMatcher
from .vocabulary import Row, Vocabulary


class ReasoningEnd:
    """Follows free text until it ends in a given text (Knuth, Morris and Pratt, 1977).

    A state is how many bytes of the end are written; the last one is ``done``.

    Args:
        end: not empty.
        vocabulary: the tokens of the masks.
        spelled: the bytes each token adds to the text, special tokens as they are spelled.
    """

    def __init__(self, end: str, vocabulary: Vocabulary, spelled: Sequence[bytes]) -> None:
        self._end = end.encode()
        self._vocabulary = vocabulary
        self._spelled = spelled
        self._borders = _borders(self._end)
        self._crossing = self._crossing_tokens()
        self.done = len(self._end)
        self._rows: dict[int, Row] = {}

    def advance(self, state: int, token_id: int) -> int | None:
        """The state after a token; None where it would end the output or cross the border."""
        if token_id in self._vocabulary.eos_token_ids:
            return None
        for byte in self._spelled[token_id]:
            if state == self.done:
                return None
            while state and self._end[state] != byte:
                state = self._borders[state - 1]
            state += self._end[state] == byte
        return state

    def allowed(self, state: int) -> Row:
        """The tokens that may come next, int32 ``[ceil(V/32)]``; not a copy.

        All but those that end the output and those that go on behind the end of the reasoning.
        """
        row = self._rows.get(state)
        if row is None:
            refused = [*self._vocabulary.eos_token_ids, *self._crossing.get(0, ())]
            written = state
            while written:
                refused += self._crossing.get(written, ())
                written = self._borders[written - 1]
            row = self._rows[state] = ~self._vocabulary.row_of(np.array(refused, np.int32))
        return row

    def _crossing_tokens(self) -> dict[int, list[int]]:
        """The tokens that complete the end and go on, by how much of it is written before."""
        completing: dict[int, list[tuple[int, bytes]]] = {}  # by first byte
        for written in range(1, len(self._end)):
            rest = self._end[written:]
            completing.setdefault(rest[0], []).append((written, rest))
        crossing: dict[int, list[int]] = {}
        for token_id, text in enumerate(self._spelled):
            if self._end in text[:-1]:
                crossing.setdefault(0, []).append(token_id)
            for written, rest in completing.get(text[0], ()) if text else ():
                if len(text) > len(rest) and text.startswith(rest):
                    crossing.setdefault(written, []).append(token_id)
        return crossing


class ReasoningMatcher:
    """``GrammarMatcher``: free text up to its end, then another matcher.

    Args:
        end: of the free text.
        matcher: of the constraint, at its start.
    """

    def __init__(self, end: ReasoningEnd, matcher: GrammarMatcher) -> None:
        self._end = end
        self._matcher = matcher
        self._states = [0]  # before the first and after each token of the reasoning

    @property
    def _reasons(self) -> bool:
        return self._states[-1] != self._end.done

    @property
    def num_constrained(self) -> int:
        return self._matcher.num_constrained

    def accept_token(self, token_id: int) -> bool:
        if not self._reasons:
            return self._matcher.accept_token(token_id)
        state = self._end.advance(self._states[-1], token_id)
        if state is None:
            return False
        self._states.append(state)
        return True

    def fill_next_token_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        if self._reasons:
            bitmask[row] = self._end.allowed(self._states[-1])
        else:
            self._matcher.fill_next_token_bitmask(bitmask, row)

    def forced(self) -> bytes:
        return b"" if self._reasons else self._matcher.forced()

    def is_terminated(self) -> bool:
        return not self._reasons and self._matcher.is_terminated()

    def is_accepting(self) -> bool:
        return not self._reasons and self._matcher.is_accepting()

    def rollback(self, num_tokens: int) -> None:
        constrained = min(num_tokens, self._matcher.num_constrained)
        free = num_tokens - constrained
        if free >= len(self._states):
            raise ValueError(
                f"rollback of {num_tokens} tokens, only "
                f"{constrained + len(self._states) - 1} were accepted"
            )
        self._matcher.rollback(constrained)
        del self._states[len(self._states) - free :]

    def fork(self) -> ReasoningMatcher:
        copy = ReasoningMatcher(self._end, self._matcher.fork())
        copy._states = list(self._states)
        return copy

    def require_prefix(self, withheld: bytes) -> None:
        assert not self._reasons, "free text is never forced, so none of it is withheld"
        self._matcher.require_prefix(withheld)


def _borders(text: bytes) -> list[int]:
    """Per length, the longest proper prefix of that beginning of ``text`` that also ends it."""
    borders = [0] * len(text)
    length = 0
    for position in range(1, len(text)):
        while length and text[position] != text[length]:
            length = borders[length - 1]
        length += text[position] == text[length]
        borders[position] = length
    return borders
