"""Regular languages on the C++ side (csrc/language.h): handed over once, then asked about.

Answers as derivatives.py does.
"""

from __future__ import annotations

import weakref
from array import array
from ctypes import c_void_p

from .derivatives import too_large
from .errors import UnsupportedGrammarError
from .language_records import Records, written
from .native_library import load_library
from .regex_tree import Node

EMPTY, INHABITED, TOO_HARD = 1, 2, 3  # what the C++ side says of emptiness


class NativeLanguages:
    """Nodes by number, and the automaton over them.

    Args:
        vocabulary: handle of the vocabulary whose masks the automaton makes; None makes none.

    Raises:
        NoCompilerError, BuildError: the C++ cannot be built here.
    """

    def __init__(self, vocabulary: c_void_p | None = None) -> None:
        self._library = load_library()
        self._handle = self._library.languages_new(vocabulary)
        weakref.finalize(self, self._library.languages_free, self._handle)
        self.automaton = self._library.languages_automaton(self._handle)
        self._numbers: dict[Node, int] = {}

    @property
    def num_nodes(self) -> int:
        return int(self._library.languages_num_nodes(self._handle))

    def number(self, node: Node) -> int:
        """The number of a node, which is also the automaton's state before its texts.

        Raises:
            UnsupportedGrammarError: it is nested too deeply.
        """
        found = self._numbers.get(node)
        if found is None:
            records, indices = written((node,), self._numbers)
            numbers = self.add_records(records)
            self._numbers.update(zip(indices, numbers, strict=True))
            found = self._numbers[node]
        return found

    def state_of(self, node: Node) -> int:
        """The automaton's state before a text of the language, 0 if there is none."""
        return self.state_at(self.number(node))

    def state_at(self, number: int) -> int:
        """The same for a node by number."""
        inhabited = self._library.languages_emptiness(self._handle, number) == INHABITED
        return number if inhabited else 0

    def prepare(self, node: Node, text: bytes) -> None:
        """Finds the tokens that may come after a text of the language's beginning."""
        state = self.state_of(node)
        state = self._library.languages_after(self._handle, state, text, len(text))
        self._library.languages_prepare(self._handle, state)

    def is_empty(self, node: Node) -> bool:
        emptiness = self._library.languages_emptiness(self._handle, self.number(node))
        if emptiness == TOO_HARD:
            raise too_large()
        return bool(emptiness == EMPTY)

    def matches(self, node: Node, text: bytes) -> bool:
        number = self.number(node)
        return bool(self._library.languages_matches(self._handle, number, text, len(text)))

    def count_words(self, node: Node, limit: int) -> int:
        count = self._library.languages_count_words(self._handle, self.number(node), limit)
        if count < 0:
            raise too_large()
        return int(count)

    def add_records(self, records: Records) -> array[int]:
        """The numbers of the nodes of some records.

        Raises:
            UnsupportedGrammarError: one of them is nested too deeply.
        """
        numbers = array("i", bytes(4 * records.count))
        data, _ = records.data.buffer_info()
        out, _ = numbers.buffer_info()
        if not self._library.languages_add(self._handle, data, records.count, out):
            raise UnsupportedGrammarError("the patterns are nested too deeply")
        return numbers
