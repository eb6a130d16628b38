"""Regular languages on the C++ side (csrc/language.h): handed over once, then asked about.

Answers as derivatives.py does.
"""

from __future__ import annotations

import struct
import weakref
from array import array
from ctypes import c_void_p

from .derivatives import too_large
from .errors import UnsupportedGrammarError
from .native_library import load_library
from .regex_tree import (
    Alternation,
    ByteSet,
    Complement,
    Concat,
    Intersection,
    Literal,
    Node,
    Repeat,
    Table,
    Words,
)

UNBOUNDED = -1
EMPTY, INHABITED, TOO_HARD = 1, 2, 3  # what the C++ side says of emptiness
(
    BYTE_SET, WORDS, TABLE, CONCAT, ALTERNATION, INTERSECTION, COMPLEMENT, REPEAT,
) = range(8)  # kinds of records  # fmt: skip


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
            self._add(node)
            found = self._numbers[node]
        return found

    def state_of(self, node: Node) -> int:
        """The automaton's state before a text of the language, 0 if there is none."""
        number = self.number(node)
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

    def _add(self, root: Node) -> None:
        """Hands over a tree, children first, less what is there already."""
        references: dict[Node, int] = {}
        data: list[int] = []
        pending = [root]
        while pending:
            node = pending[-1]
            missing = [
                part
                for part in _parts(node)
                if part not in self._numbers and part not in references
            ]
            if missing:
                pending += missing
                continue
            pending.pop()
            if node not in references:
                known = [
                    references[part] if part in references else self._numbers[part]
                    for part in _parts(node)
                ]
                references[node] = -1 - len(references)
                data += _record(node, known)
        encoded = array("i", data)
        numbers = array("i", bytes(4 * len(references)))
        address, _ = encoded.buffer_info()
        out, _ = numbers.buffer_info()
        if not self._library.languages_add(self._handle, address, len(references), out):
            raise UnsupportedGrammarError("the patterns are nested too deeply")
        self._numbers.update(zip(references, numbers, strict=True))


def _parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Concat():
            return (node.first, node.rest)
        case Alternation() | Intersection():
            return tuple(node.parts)
        case Complement() | Repeat():
            return (node.part,)
    return ()


def _record(node: Node, parts: list[int]) -> list[int]:
    """A node as the C++ side reads it; parts by number, or negative by place in the records."""
    match node:
        case ByteSet():
            return [BYTE_SET, *struct.unpack("<8i", node.bits.to_bytes(32, "little"))]
        case Literal():
            return [WORDS, 1, len(node.text), *node.text]
        case Words():
            texts = [number for text in node.texts for number in (len(text), *text)]
            return [WORDS, len(node.texts), *texts]
        case Table():
            return [TABLE, node.state, *_rows(node)]
        case Concat():
            return [CONCAT, *parts]
        case Alternation():
            return [ALTERNATION, len(parts), *parts]
        case Intersection():
            return [INTERSECTION, len(parts), *parts]
        case Complement():
            return [COMPLEMENT, *parts]
        case Repeat():
            maximum = UNBOUNDED if node.maximum is None else node.maximum
            return [REPEAT, *parts, node.minimum, maximum]
    raise AssertionError(node)


def _rows(node: Table) -> list[int]:
    data = [len(node.transitions)]
    for state, row in enumerate(node.transitions):
        data += (state in node.accepting, len(row))
        for transition in row:
            data += transition
    return data
