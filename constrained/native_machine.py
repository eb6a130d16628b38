"""The machine of recursive transition networks in C++ (csrc/machine.h).

The C++ side holds states, stacks, automata and masks and walks the trie without the GIL; where it
lacks a place it says so, and this side computes it from the network and asks again.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from .machine import MAX_FORCED
from .machine_tables import Given, GivenCapture, GivenPlace, GivenTargets, MachineTables
from .native_languages import NativeLanguages
from .native_library import RowAddresses, load_library
from .network import START, Edge, Network, Places, Target
from .regex_tree import Node
from .vocabulary import Bitmask, Vocabulary

NEEDS = -1  # what the C++ side returns when it must be given something first
NONE = -1  # no state, no nested frame
MAX_NEEDS = 256
PIECE = 64  # bytes advanced in one call, so that a need repeats little
PART_BYTES = 128 << 20
ROW_BYTES = 64 << 20
MAX_SHARED_NODES = 200_000
NEED_PLACE, NEED_CAPTURED, NEED_TARGETS = range(3)
LATE = -1  # instead of a number of targets, which will be asked for
TRIE_START = 1


class NativeVocabulary:
    """A vocabulary's trie on the C++ side, with the masks that all grammars share.

    Args:
        vocabulary: the tokens.
        row_bytes: mask rows are dropped, least recently used first, beyond this.
    """

    def __init__(self, vocabulary: Vocabulary, row_bytes: int = ROW_BYTES) -> None:
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
        )
        weakref.finalize(self, self.library.vocabulary_free, self.handle)
        self.library.vocabulary_set_limits(self.handle, PART_BYTES, row_bytes)
        self._set_tokens()
        self._shared = self._fresh_languages()
        self.row_addresses = RowAddresses(vocabulary.row_len)

    def shared_languages(self) -> NativeLanguages:
        """The lexemes of all grammars, until they are many and new grammars get others."""
        if self._shared.num_nodes > MAX_SHARED_NODES:
            self._shared = self._fresh_languages()
        return self._shared

    def _fresh_languages(self) -> NativeLanguages:
        return NativeLanguages(self.handle)

    def _set_tokens(self) -> None:
        eos_ids = self.vocabulary.eos_token_ids
        texts = [
            b"" if token is None or token_id in eos_ids else token
            for token_id, token in enumerate(self.vocabulary.token_bytes)
        ]
        begin = np.fromiter(accumulate(map(len, texts), initial=0), np.int32, len(texts) + 1)
        eos = np.array(eos_ids, np.int32)
        self.library.vocabulary_set_tokens(
            self.handle,
            b"".join(texts),
            begin.ctypes.data,
            len(texts),
            eos.ctypes.data,
            len(eos),
        )


class NativeMachine:
    """The automaton of a network, in C++; the same verbs as ``Machine``.

    Args:
        network: gives the grammar, when something of it is needed.
        vocabulary: the tokens of the masks.
        tables: what a machine of the same grammar was given before, if anything; then the network
            is not needed until a text leads beyond that.
    """

    def __init__(
        self,
        network: Callable[[], Network],
        vocabulary: NativeVocabulary,
        tables: MachineTables | None = None,
    ) -> None:
        self.vocabulary = vocabulary  # also keeps it alive for the C++ side
        self.library = vocabulary.library
        self.handle = self.library.machine_new(vocabulary.handle)
        weakref.finalize(self, self.library.machine_free, self.handle)
        self._languages = vocabulary.shared_languages()
        self._advance_token, self._fill = (
            self.library.machine_advance_token,
            self.library.machine_fill,
        )
        self._address = vocabulary.row_addresses.address
        self._network = network
        self._known_places: Places | None = None
        self._lock = threading.Lock()
        self._tries: dict[tuple[bytes, ...], int] = {}  # addresses
        self._edges: dict[Edge, array[int]] = {}  # as the C++ side reads them
        self._is_given: set[tuple[int, ...]] = set()
        self.given: list[Given] = []
        if tables is not None:
            self._recall(tables)
        self.start = self._answer("machine_start", START)

    def advance(self, state: int, text: bytes) -> int:
        for first in range(0, len(text), PIECE):
            piece = text[first : first + PIECE]
            state = self._answer("machine_advance", state, piece, len(piece))
        return state

    def advance_token(self, state: int, token_id: int) -> int:
        reached: int = self._advance_token(self.handle, state, token_id)
        if reached == NEEDS:
            return self._answer("machine_advance_token", state, token_id)
        return reached

    def is_accepting(self, state: int) -> bool:
        return bool(self.library.machine_accepting(self.handle, state))

    def is_finished(self, state: int) -> bool:
        return bool(self.library.machine_finished(self.handle, state))

    def forced(self, state: int) -> bytes:
        out = ctypes.create_string_buffer(MAX_FORCED)
        length = self._answer("machine_forced", state, out)
        return out.raw[:length]

    def fill(self, state: int, bitmask: Bitmask, row: int) -> None:
        address = self._address(bitmask, row)
        if self._fill(self.handle, state, address) == NEEDS:
            self._answer("machine_fill", state, address)

    def prepare(self) -> None:
        """Finds the first mask, which every request asks for."""
        self.fill(self.start, np.empty((1, self.vocabulary.vocabulary.row_len), np.int32), 0)

    @property
    def memory_bytes(self) -> int:
        return int(self.library.machine_memory_bytes(self.handle))

    def supply_needs(self) -> None:
        """Gives the C++ side what its last answer lacked."""
        needs = array("i", bytes(16 * MAX_NEEDS))
        address, _ = needs.buffer_info()
        count = self.library.machine_take_needs(self.handle, address, MAX_NEEDS)
        for at in range(0, 4 * count, 4):
            kind, first, second, third = needs[at : at + 4]
            if kind == NEED_PLACE:
                self._supply_place(first)
            elif kind == NEED_TARGETS:
                self._supply_targets(first, second)
            else:
                self._supply_captured(first, second, third)

    def _answer(self, function: str, *arguments: Any) -> int:
        """Asks until nothing is needed any more."""
        ask = getattr(self.library, function)
        while (result := ask(self.handle, *arguments)) == NEEDS:
            self.supply_needs()
        return int(result)

    def rebuild(self) -> None:
        """Makes the network of a machine from tables, for texts that lead beyond them."""
        with self._lock:
            if self._known_places is None:
                self._known_places = self._numbered_places()

    @property
    def _places(self) -> Places:
        if self._known_places is None:
            self.rebuild()
        assert self._known_places is not None
        return self._known_places

    def _numbered_places(self) -> Places:
        """The network's places, numbered as the tables have them."""
        places = Places(self._network())
        given: list[Given] = []
        for entry in self.given:
            again: Given = entry
            if isinstance(entry, GivenPlace):
                again = self._given_place(entry.number, places)
                same = again.edges == entry.edges
            elif isinstance(entry, GivenTargets):
                again = self._given_targets(entry.number, entry.label, places)
                same = again == entry
            else:
                self._flat(places.targets(entry.number, entry.label, entry.text), places)
                same = True
            if not same:
                raise RuntimeError("a grammar is not the one that was kept on disk")
            given.append(again)
        self.given = given  # now with languages that can be written again
        return places

    def _recall(self, tables: MachineTables) -> None:
        """Gives the C++ side all that is known."""
        numbers = self._languages.add_records(tables.records)
        states = [self._languages.state_at(numbers[root]) for root in tables.roots]
        tries = [self._trie(texts) for texts in tables.literals]
        for given in tables.given:
            if isinstance(given, GivenPlace):
                assert isinstance(given.automaton, int)
                self._is_given.add((given.number,))
                if given.automaton < 0:
                    self._set_place(given, tries[-1 - given.automaton], TRIE_START)
                else:
                    self._set_place(given, self._languages.automaton, states[given.automaton])
            elif isinstance(given, GivenTargets):
                self._set_targets(given)
        self.given.extend(tables.given)

    def _supply_place(self, number: int) -> None:
        if (number,) in self._is_given:
            return
        place = self._given_place(number, self._places)
        self._is_given.add((number,))
        self.given.append(place)
        if isinstance(place.automaton, Node):
            start = self._languages.state_of(place.automaton)
            self._set_place(place, self._languages.automaton, start)
        else:
            assert isinstance(place.automaton, tuple)
            self._set_place(place, self._trie(place.automaton), TRIE_START)

    def _given_place(self, number: int, places: Places) -> GivenPlace:
        place = places.place(number)
        edges = array("i")
        for edge in place.edges:
            known = self._edges.get(edge)
            if known is None:
                targets = (LATE,) if edge.is_late else self._flat(edge.targets, places)
                known = array("i", (edge.capture is not None, *targets))
                self._edges[edge] = known
            edges.extend(known)
        automaton = place.texts or place.edges[0].lexeme
        also = NONE if place.also is None else place.also
        return GivenPlace(number, automaton, also, len(place.edges), edges)

    def _set_place(self, place: GivenPlace, automaton: int, start: int) -> None:
        address, _ = place.edges.buffer_info()
        self.library.machine_set_place(
            self.handle, place.number, automaton, start, place.also, address, place.num_edges
        )

    def _supply_targets(self, number: int, label: int) -> None:
        if (number, label) in self._is_given:
            return
        given = self._given_targets(number, label, self._places)
        self.given.append(given)
        self._set_targets(given)
        states, nested_states = given.targets[1::2], given.targets[2::2]
        for state, nested in zip(states, nested_states, strict=True):  # where it goes on
            entered = state if nested == NONE else nested
            if entered != NONE:
                self._supply_place(entered)

    def _given_targets(self, number: int, label: int, places: Places) -> GivenTargets:
        targets = places.place(number).edges[label].targets
        return GivenTargets(number, label, self._flat(targets, places))

    def _set_targets(self, given: GivenTargets) -> None:
        self._is_given.add((given.number, given.label))
        address, _ = given.targets.buffer_info()
        self.library.machine_set_targets(self.handle, given.number, given.label, address)

    def _trie(self, texts: tuple[bytes, ...]) -> int:
        """The automaton that follows some literals."""
        found = self._tries.get(texts)
        if found is None:
            lengths = array("i", map(len, texts))
            address, _ = lengths.buffer_info()
            text = b"".join(texts)
            found = self.library.machine_add_literals(self.handle, text, address, len(lengths))
            self._tries[texts] = found
        return int(found)

    def _supply_captured(self, number: int, label: int, captured: int) -> None:
        if (number, label, captured) in self._is_given:
            return
        text = self._captured_text(captured)
        targets = self._flat(self._places.targets(number, label, text), self._places)
        self._is_given.add((number, label, captured))
        self.given.append(GivenCapture(number, label, text))
        address, _ = targets.buffer_info()
        self.library.machine_set_captured(self.handle, number, label, captured, address)

    def _captured_text(self, captured: int) -> bytes:
        length, room = 0, 4096
        while length == 0 or length > room:
            room = max(room, length)
            text = ctypes.create_string_buffer(room)
            length = self.library.machine_captured_text(self.handle, captured, text, room)
        return text.raw[:length]

    @staticmethod
    def _flat(targets: Sequence[Target], places: Places) -> array[int]:
        """Count, then place and nested place of each target."""
        numbers = array("i", (len(targets),))
        for target in targets:
            for state in target:
                numbers.append(NONE if state is None else places.number(state))
        return numbers
