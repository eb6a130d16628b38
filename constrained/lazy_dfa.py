"""Deterministic automata over bytes: one built state by state from derivatives, one of literals."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .derivatives import byte_classes, derivative, first_byte, is_empty
from .regex_tree import NOTHING, Node

DEAD = 0
TransitionRow = npt.NDArray[np.int32]  # the next state for each of the 256 bytes


class LexemeAutomaton(Protocol):
    """Follows a text through one or more languages; states are numbers, ``DEAD`` among them."""

    def row(self, state: int) -> TransitionRow:
        """The next states. From all but ``DEAD`` some member can still be reached."""

    def labels(self, state: int) -> tuple[int, ...]:
        """The languages that hold the text that led here."""

    @property
    def num_states(self) -> int: ...


class LazyDFA:
    """The derivatives of languages as states; any number of languages can start in it."""

    def __init__(self) -> None:
        self._numbers: dict[Node, int] = {NOTHING: DEAD}
        self._languages: list[Node] = [NOTHING]
        self._rows: dict[int, TransitionRow] = {}
        self._lock = threading.Lock()

    def state_of(self, language: Node) -> int:
        """The state before a text of the language."""
        number = self._numbers.get(language)
        if number is None:
            if is_empty(language):
                language = NOTHING
            with self._lock:
                number = self._numbers.setdefault(language, len(self._languages))
                if number == len(self._languages):
                    self._languages.append(language)
        return number

    def row(self, state: int) -> TransitionRow:
        known = self._rows.get(state)
        if known is None:
            language = self._languages[state]
            known = np.zeros(256, np.int32)
            for byte_class in byte_classes(language):
                following = self.state_of(derivative(language, first_byte(byte_class)))
                if following != DEAD:
                    known[_members(byte_class)] = following
            self._rows[state] = known
        return known

    def labels(self, state: int) -> tuple[int, ...]:
        return (0,) if self._languages[state].nullable else ()

    @property
    def num_states(self) -> int:
        return len(self._languages)


class LiteralTrie:
    """An automaton over literal texts; their indices are the labels.

    Args:
        texts: not empty, and all different.
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts
        self.start = 1
        self._children: list[dict[int, int]] = [{}, {}]
        self._labels: dict[int, int] = {}
        for label, text in enumerate(texts):
            state = self.start
            for byte in text:
                following = self._children[state].get(byte)
                if following is None:
                    following = self._children[state][byte] = len(self._children)
                    self._children.append({})
                state = following
            self._labels[state] = label

    def row(self, state: int) -> TransitionRow:
        row = np.zeros(256, np.int32)
        for byte, following in self._children[state].items():
            row[byte] = following
        return row

    def labels(self, state: int) -> tuple[int, ...]:
        return (self._labels[state],) if state in self._labels else ()

    @property
    def num_states(self) -> int:
        return len(self._children)


@lru_cache(4096)
def _members(byte_class: int) -> npt.NDArray[np.intp]:
    """The bytes of a bit set."""
    bits = np.frombuffer(byte_class.to_bytes(32, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(bits, bitorder="little"))
