"""The machine of recursive transition networks in C++ (csrc/machine.h).

The C++ side holds states, stacks, automata and masks and walks the trie without the GIL; where it
lacks a place it says so, and this side computes it from the network and asks again.
"""

from __future__ import annotations

import ctypes
import weakref
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from .machine import MAX_FORCED
from .native_languages import NativeLanguages
from .native_library import address_of, load_library
from .network import Edge, Network, Place, Places, Target
from .vocabulary import Row, Vocabulary

NEEDS = -1  # what the C++ side returns when it must be given something first
NONE = -1  # no state, no nested frame
MAX_NEEDS = 256
PIECE = 64  # bytes advanced in one call, so that a need repeats little
PART_BYTES = 128 << 20
ROW_BYTES = 64 << 20
MAX_SHARED_NODES = 200_000
NEED_PLACE, NEED_CAPTURED = range(2)
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
        network: the grammar.
        vocabulary: the tokens of the masks.
    """

    def __init__(self, network: Network, vocabulary: NativeVocabulary) -> None:
        self.vocabulary = vocabulary  # also keeps it alive for the C++ side
        self.library = vocabulary.library
        self.handle = self.library.machine_new(vocabulary.handle)
        weakref.finalize(self, self.library.machine_free, self.handle)
        self._languages = vocabulary.shared_languages()
        self._advance_token, self._fill = (
            self.library.machine_advance_token,
            self.library.machine_fill,
        )
        self._places = Places(network)
        self._tries: dict[tuple[bytes, ...], int] = {}  # addresses
        self._edges: dict[Edge, array[int]] = {}  # as the C++ side reads them
        self._given: set[tuple[int, ...]] = set()
        self.start = self._answer("machine_start", self._places.number(network.start))

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

    def fill(self, state: int, row: Row) -> None:
        address = address_of(row)
        if self._fill(self.handle, state, address) == NEEDS:
            self._answer("machine_fill", state, address)

    def prepare(self) -> None:
        """Finds the first mask, which every request asks for."""
        self.fill(self.start, np.empty(self.vocabulary.vocabulary.row_len, np.int32))

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
            else:
                self._supply_captured(first, second, third)

    def _answer(self, function: str, *arguments: Any) -> int:
        """Asks until nothing is needed any more."""
        ask = getattr(self.library, function)
        while (result := ask(self.handle, *arguments)) == NEEDS:
            self.supply_needs()
        return int(result)

    def _supply_place(self, number: int) -> None:
        if (number,) in self._given:
            return
        self._given.add((number,))
        place = self._places.place(number)
        automaton, start = self._automaton(place)
        edges = array("i")
        for edge in place.edges:
            known = self._edges.get(edge)
            if known is None:
                known = array("i", (edge.capture is not None, *self._flat(edge.targets)))
                self._edges[edge] = known
            edges.extend(known)
        address, _ = edges.buffer_info()
        also = NONE if place.also is None else place.also
        self.library.machine_set_place(
            self.handle, number, automaton, start, also, address, len(place.edges)
        )

    def _automaton(self, place: Place) -> tuple[int, int]:
        """What follows the lexemes of a place, and its state before them."""
        if not place.texts:
            lexeme = place.edges[0].lexeme
            return self._languages.automaton, self._languages.state_of(lexeme)
        found = self._tries.get(place.texts)
        if found is None:
            lengths = array("i", map(len, place.texts))
            address, _ = lengths.buffer_info()
            text = b"".join(place.texts)
            found = self.library.machine_add_literals(self.handle, text, address, len(lengths))
            self._tries[place.texts] = found
        return found, TRIE_START

    def _supply_captured(self, number: int, label: int, captured: int) -> None:
        if (number, label, captured) in self._given:
            return
        self._given.add((number, label, captured))
        targets = self._flat(self._places.targets(number, label, self._captured_text(captured)))
        address, _ = targets.buffer_info()
        self.library.machine_set_captured(self.handle, number, label, captured, address)

    def _captured_text(self, captured: int) -> bytes:
        length, room = 0, 4096
        while length == 0 or length > room:
            room = max(room, length)
            text = ctypes.create_string_buffer(room)
            length = self.library.machine_captured_text(self.handle, captured, text, room)
        return text.raw[:length]

    def _flat(self, targets: Sequence[Target]) -> array[int]:
        """Count, then place and nested place of each target."""
        numbers = array("i", (len(targets),))
        for target in targets:
            for state in target:
                numbers.append(NONE if state is None else self._places.number(state))
        return numbers
