"""What the scheduler asks of a grammar during one request, and the matcher over byte automata."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .vocabulary import Bitmask, Vocabulary


class GrammarMatcher(Protocol):
    """The state of one request in its grammar. All backends implement it."""

    @property
    def num_constrained(self) -> int:
        """Accepted tokens that the grammar has constrained; free text may have come before."""

    def accept_token(self, token_id: int) -> bool:
        """Advances by one token; False, and no change, where the grammar forbids it."""

    def fill_next_token_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        """Writes the allowed tokens into ``bitmask[row]``, int32 ``[rows, ceil(V/32)]``.

        EOS tokens are allowed exactly when the text so far is complete.
        """

    def forced(self) -> bytes:
        """Bytes that must come next, whole UTF-8 characters only; empty where there is choice."""

    def is_terminated(self) -> bool:
        """Whether EOS was accepted, or the text is complete and nothing may follow."""

    def is_accepting(self) -> bool:
        """Whether the text so far is complete."""

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last accepted tokens, EOS included."""

    def fork(self) -> GrammarMatcher:
        """An independent matcher in the same state."""

    def require_prefix(self, withheld: bytes) -> None:
        """The next tokens must spell ``withheld`` first (token healing after a rollback)."""


class Automaton(Protocol):
    """A language of bytes as numbered states; 0 is the dead one."""

    @property
    def start(self) -> int: ...

    def advance(self, state: int, text: bytes) -> int:
        """The state after some bytes."""

    def advance_token(self, state: int, token_id: int) -> int:
        """The state after a token; special tokens lead nowhere."""

    def is_accepting(self, state: int) -> bool:
        """Whether the text so far is complete."""

    def is_finished(self, state: int) -> bool:
        """Whether it is complete and nothing may follow."""

    def forced(self, state: int) -> bytes:
        """The bytes that must come next."""

    def fill(self, state: int, bitmask: Bitmask, row: int) -> None:
        """Writes the tokens that may come next, EOS among them where the text is complete.

        Args:
            bitmask: int32 ``[rows, ceil(V/32)]``, contiguous.
            row: which row is written.
        """


class AutomatonMatcher:
    """``GrammarMatcher`` over a byte automaton.

    Args:
        automaton: shared by all matchers of the grammar; its states are immutable.
        vocabulary: the tokens.
    """

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary) -> None:
        self._automaton = automaton
        self._vocabulary = vocabulary
        self._state = automaton.start
        self._withheld = b""
        self._ended = False
        self._history: list[tuple[int, bytes]] = []  # per accepted token: what was before it

    @property
    def machine(self) -> Automaton | None:
        """The automaton if the next mask is that of ``state``; None where more restricts it."""
        return None if self._ended or self._withheld else self._automaton

    @property
    def state(self) -> int:
        """The automaton's state after the text so far."""
        return self._state

    @property
    def num_constrained(self) -> int:
        return len(self._history)

    def accept_token(self, token_id: int) -> bool:
        if self._ended:
            return False
        state, withheld = self._state, self._withheld
        if token_id in self._vocabulary.eos_token_ids:
            if not self.is_accepting():
                return False
            self._ended = True
        else:
            if withheld:
                text = self._vocabulary.token_bytes[token_id] or b""
                if not (text.startswith(withheld) or withheld.startswith(text)):
                    return False
                withheld = withheld[len(text) :]
            state = self._automaton.advance_token(state, token_id)
            if not state:
                return False
        self._history.append((self._state, self._withheld))
        self._state, self._withheld = state, withheld
        return True

    def fill_next_token_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        if self._ended:
            bitmask[row] = 0
            return
        self._automaton.fill(self._state, bitmask, row)
        if self._withheld:
            bitmask[row] &= self._vocabulary.prefix_row(self._withheld)

    def forced(self) -> bytes:
        if self._ended:
            return b""
        forced = self._automaton.forced(self._state)
        return whole_characters(max(forced, self._withheld, key=len))

    def is_terminated(self) -> bool:
        return self._ended or (not self._withheld and self._automaton.is_finished(self._state))

    def is_accepting(self) -> bool:
        return not self._withheld and self._automaton.is_accepting(self._state)

    def rollback(self, num_tokens: int) -> None:
        if num_tokens == 0:
            return
        if num_tokens > len(self._history):
            raise ValueError(
                f"rollback of {num_tokens} tokens, only {len(self._history)} were accepted"
            )
        self._state, self._withheld = self._history[-num_tokens]
        del self._history[-num_tokens:]
        self._ended = False

    def fork(self) -> AutomatonMatcher:
        copy = AutomatonMatcher(self._automaton, self._vocabulary)
        copy._state, copy._withheld, copy._ended = self._state, self._withheld, self._ended
        copy._history = list(self._history)
        return copy

    def require_prefix(self, withheld: bytes) -> None:
        self._withheld = withheld


def whole_characters(text: bytes) -> bytes:
    """``text`` without an unfinished UTF-8 character at its end."""
    for back in range(1, min(3, len(text)) + 1):
        byte = text[-back]
        if byte >= 0xC0:
            char_len = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return text if back >= char_len else text[:-back]
        if byte < 0x80:
            return text
    return text
