"""The machine of recursive transition networks in C++ (csrc/machine.cpp), called by ctypes.

The C++ side holds states, stacks and rows of automata and walks the trie without the GIL; where
it lacks a row or a place it says so, and this side computes it from the network and asks again.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sglang_lang.kernels.native import build_shared_library

from .lazy_dfa import DEAD, LazyDFA, LexemeAutomaton, LiteralTrie
from .machine import BYTES_PER_LEXEME_STATE, MAX_FORCED
from .network import Network, Places, Target
from .vocabulary import Row, Vocabulary

SOURCE = Path(__file__).parent / "csrc" / "machine.cpp"
NEEDS = -1  # what the C++ side returns when it must be given something first
NONE = -1  # no state, no nested frame
MAX_NEEDS = 256
MAX_CAPTURED = 65_536
FEW = 3  # successors of which all are likely
PIECE = 64  # bytes advanced in one call, so that a need repeats little
CHAIN = 24  # rows supplied at once, along the text that is likeliest to be asked for
PART_BYTES = 128 << 20
MAX_SHARED_STATES = 50_000
NEED_PLACE, NEED_ROW, NEED_CAPTURED = range(3)

A = TypeVar("A", bound=LexemeAutomaton)
_INT, _LONG, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
_SIGNATURES = {
    "vocabulary_new": (_POINTER, (*[_POINTER] * 3, _INT, _POINTER, _INT, _INT, _LONG)),
    "vocabulary_free": (None, (_POINTER,)),
    "automaton_new": (_POINTER, ()),
    "automaton_free": (None, (_POINTER,)),
    "automaton_set_row": (None, (*[_POINTER] * 2, _INT, *[_POINTER] * 2, _INT, _INT)),
    "automaton_set_literals": (None, (*[_POINTER] * 2, ctypes.c_char_p, _POINTER, _INT)),
    "machine_new": (_POINTER, (_POINTER,)),
    "machine_free": (None, (_POINTER,)),
    "machine_set_place": (None, (_POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _INT)),
    "machine_set_captured": (None, (_POINTER, _INT, _INT, _INT, _POINTER)),
    "machine_start": (_INT, (_POINTER, _INT)),
    "machine_advance": (_INT, (_POINTER, _INT, ctypes.c_char_p, _INT)),
    "machine_accepting": (_INT, (_POINTER, _INT)),
    "machine_finished": (_INT, (_POINTER, _INT)),
    "machine_forced": (_INT, (_POINTER, _INT, _POINTER, _INT)),
    "machine_fill": (_INT, (_POINTER, _INT, _POINTER)),
    "machine_take_needs": (_INT, (_POINTER, _POINTER, _INT)),
    "machine_captured_text": (_INT, (_POINTER, _INT, _POINTER, _INT)),
    "machine_memory_bytes": (_LONG, (_POINTER,)),
}


@lru_cache(1)
def load_library() -> ctypes.CDLL:
    """The compiled library, built at first use.

    Raises:
        NoCompilerError: there is no compiler; the machine in Python serves then.
    """
    library = ctypes.CDLL(str(build_shared_library("constrained", [SOURCE])))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class NativeVocabulary:
    """A vocabulary's trie on the C++ side, with the mask parts that all grammars share."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.library = load_library()
        self.vocabulary = vocabulary
        self.handle = self.library.vocabulary_new(
            vocabulary.node_bytes.ctypes.data,
            vocabulary.node_skip.ctypes.data,
            vocabulary.node_tokens.ctypes.data,
            len(vocabulary.node_bytes),
            vocabulary.order.ctypes.data,
            len(vocabulary.order),
            vocabulary.row_len,
            PART_BYTES,
        )
        weakref.finalize(self, self.library.vocabulary_free, self.handle)
        self._shared = self._fresh_automaton()

    def shared_automaton(self) -> NativeAutomaton[LazyDFA]:
        """The automaton of lexemes; grammars share it, until it is large and they get another."""
        if self._shared.automaton.num_states > MAX_SHARED_STATES:
            self._shared = self._fresh_automaton()
        return self._shared

    def _fresh_automaton(self) -> NativeAutomaton[LazyDFA]:
        return NativeAutomaton(LazyDFA(self.vocabulary.max_token_len), self)


class NativeAutomaton(Generic[A]):
    """The rows of one automaton on the C++ side."""

    def __init__(self, automaton: A, vocabulary: NativeVocabulary) -> None:
        self.automaton = automaton
        self._library = vocabulary.library
        self._vocabulary_handle = vocabulary.handle
        self.handle = vocabulary.library.automaton_new()
        self._supplied: set[int] = set()
        weakref.finalize(self, vocabulary.library.automaton_free, self.handle)

    def supply_literals(self, texts: Sequence[bytes]) -> None:
        """Hands over a whole trie of literals, numbered as ``LiteralTrie`` does."""
        lengths = np.array([len(text) for text in texts], np.int32)
        self._library.automaton_set_literals(
            self._vocabulary_handle, self.handle, b"".join(texts), lengths.ctypes.data, len(texts)
        )

    def supply(self, state: int) -> None:
        """Hands over a row and the likeliest of those that follow it."""
        pending = [state]
        for _ in range(CHAIN):
            if not pending:
                return
            state = pending.pop()
            if state in self._supplied:
                continue
            self._supplied.add(state)
            row = self.automaton.row(state)
            labels = np.array(self.automaton.labels(state), np.int32)
            self._library.automaton_set_row(
                self._vocabulary_handle,
                self.handle,
                state,
                row.ctypes.data,
                labels.ctypes.data,
                len(labels),
                self.automaton.mask_state(state),
            )
            following = Counter(row.tolist())
            del following[DEAD]
            usual = following.most_common(1 if len(following) > FEW else FEW)
            pending += [reached for reached, _ in usual]


class NativeMachine:
    """The automaton of a network, in C++; the same verbs as ``Machine``.

    Args:
        network: the grammar.
        vocabulary: the tokens of the masks.
    """

    def __init__(self, network: Network, vocabulary: NativeVocabulary) -> None:
        self._vocabulary = vocabulary  # also keeps it alive for the C++ side
        self._library = vocabulary.library
        self._handle = self._library.machine_new(vocabulary.handle)
        weakref.finalize(self, self._library.machine_free, self._handle)
        shared = vocabulary.shared_automaton()
        self._places = Places(network, shared.automaton)
        self._automata: dict[LexemeAutomaton, NativeAutomaton[Any]] = {shared.automaton: shared}
        self._given: set[tuple[int, ...]] = set()
        first = self._places.number(network.start)
        self.start = self._answer(lambda: self._library.machine_start(self._handle, first))

    def advance(self, state: int, text: bytes) -> int:
        for first in range(0, len(text), PIECE):
            state = self._advance_piece(state, text[first : first + PIECE])
        return state

    def _advance_piece(self, state: int, piece: bytes) -> int:
        return self._answer(
            lambda: self._library.machine_advance(self._handle, state, piece, len(piece))
        )

    def is_accepting(self, state: int) -> bool:
        return bool(self._library.machine_accepting(self._handle, state))

    def is_finished(self, state: int) -> bool:
        return bool(self._answer(lambda: self._library.machine_finished(self._handle, state)))

    def forced(self, state: int) -> bytes:
        out = np.empty(MAX_FORCED, np.uint8)
        length = self._answer(
            lambda: self._library.machine_forced(self._handle, state, out.ctypes.data, len(out))
        )
        return out[:length].tobytes()

    def allowed(self, state: int) -> Row:
        row = np.empty(self._vocabulary.vocabulary.row_len, np.int32)
        self._answer(lambda: self._library.machine_fill(self._handle, state, row.ctypes.data))
        return row

    @property
    def memory_bytes(self) -> int:
        rows = self._places.num_lexeme_states
        own = int(self._library.machine_memory_bytes(self._handle))
        return own + 2 * BYTES_PER_LEXEME_STATE * rows

    def _answer(self, ask: Callable[[], int]) -> int:
        """Asks until nothing is needed any more."""
        while (result := ask()) == NEEDS:
            self._supply_needs()
        return result

    def _supply_needs(self) -> None:
        needs = np.empty((MAX_NEEDS, 4), np.int32)
        count = self._library.machine_take_needs(self._handle, needs.ctypes.data, MAX_NEEDS)
        for kind, first, second, third in needs[:count].tolist():
            if kind == NEED_ROW:
                self._automata[self._places.place(first).automaton].supply(second)
            elif kind == NEED_PLACE:
                self._supply_place(first)
            else:
                self._supply_captured(first, second, third)

    def _supply_place(self, number: int) -> None:
        if (number,) in self._given:
            return
        place = self._places.place(number)
        automaton = self._automata.get(place.automaton)
        if automaton is None:
            automaton = NativeAutomaton(place.automaton, self._vocabulary)
            self._automata[place.automaton] = automaton
            if isinstance(place.automaton, LiteralTrie):
                automaton.supply_literals(place.automaton.texts)
        if not isinstance(place.automaton, LiteralTrie):
            automaton.supply(place.start)
        edges: list[int] = []
        for edge in place.edges:
            edges += [edge.capture is not None, *self._flat(edge.targets)]
        data = np.array(edges, np.int32)
        self._library.machine_set_place(
            self._handle,
            number,
            automaton.handle,
            place.start,
            NONE if place.also is None else place.also,
            data.ctypes.data,
            len(place.edges),
        )
        self._given.add((number,))

    def _supply_captured(self, number: int, label: int, captured: int) -> None:
        if (number, label, captured) in self._given:
            return
        text = np.empty(MAX_CAPTURED, np.uint8)
        length = self._library.machine_captured_text(
            self._handle, captured, text.ctypes.data, len(text)
        )
        targets = self._places.targets(number, label, text[:length].tobytes())
        data: npt.NDArray[np.int32] = np.array(self._flat(targets), np.int32)
        self._library.machine_set_captured(self._handle, number, label, captured, data.ctypes.data)
        self._given.add((number, label, captured))

    def _flat(self, targets: tuple[Target, ...]) -> list[int]:
        """Count, then place and nested place of each target."""
        numbers = [len(targets)]
        for target in targets:
            for state in (target.state, target.nested):
                numbers.append(NONE if state is None else self._places.number(state))
        return numbers
