"""Finds whether a growing text contains a match of a regex, one byte after another.

Linear in the text whatever the pattern, unlike a backtracking search; nothing is read twice.
"""

from __future__ import annotations

from .lazy_dfa import LazyDFA
from .regex_language import regex_language


class TextSearch:
    """An automaton for "a match has been seen".

    Args:
        pattern: in Python's syntax.

    Raises:
        GrammarError: a mistake in the pattern, or a construct that is not supported.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._automaton = LazyDFA()
        self.start = self._automaton.state_of(regex_language(pattern, "python", search=True))

    def step(self, state: int, data: bytes) -> int:
        """The state after some more bytes of the text."""
        for byte in data:
            state = int(self._automaton.row(state)[byte])
        return state

    def found(self, state: int) -> bool:
        """Whether the text so far contains a match."""
        return bool(self._automaton.labels(state))
