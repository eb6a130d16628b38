"""A deterministic automaton over several languages at once, built state by state when needed."""

from __future__ import annotations

from collections.abc import Sequence

from .derivatives import derivative, first_byte, is_empty, joint_classes
from .regex_tree import NOTHING, Node

DEAD = 0


class LazyDFA:
    """Follows a text through several languages and tells which of them it is in.

    States are numbers. ``DEAD`` is the state of every text that is a prefix of no member of any
    language; from all others some member can still be reached.

    Args:
        languages: their indices are the labels.
    """

    def __init__(self, languages: Sequence[Node]) -> None:
        self._numbers: dict[tuple[Node, ...], int] = {}
        self._states: list[tuple[Node, ...]] = []
        self._rows: list[list[int] | None] = []
        self._number([NOTHING] * len(languages))
        self.start = self._number(languages)

    def step(self, state: int, byte: int) -> int:
        """The state after one more byte."""
        return self.row(state)[byte]

    def row(self, state: int) -> list[int]:
        """The next state for each of the 256 bytes."""
        known = self._rows[state]
        if known is None:
            known = [DEAD] * 256
            for byte_class in joint_classes(self._states[state]):
                byte = first_byte(byte_class)
                following = self._number([derivative(n, byte) for n in self._states[state]])
                if following != DEAD:
                    while byte_class:
                        known[first_byte(byte_class)] = following
                        byte_class &= byte_class - 1
            self._rows[state] = known
        return known

    def labels(self, state: int) -> tuple[int, ...]:
        """The languages that hold the text that led here."""
        return tuple(i for i, node in enumerate(self._states[state]) if node.nullable)

    def next_bytes(self, state: int) -> int:
        """The bytes that do not lead to ``DEAD``, as a bit set of 256."""
        return sum(1 << byte for byte, following in enumerate(self.row(state)) if following)

    @property
    def num_states(self) -> int:
        return len(self._states)

    def _number(self, languages: Sequence[Node]) -> int:
        key = tuple(NOTHING if is_empty(node) else node for node in languages)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append(key)
            self._rows.append(None)
        return number
