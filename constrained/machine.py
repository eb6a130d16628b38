"""Follows a recursive transition network through a text, byte by byte.

A machine state is a set of configurations, one for each way to read the text so far. Stacks and
machine states are immutable and numbered, so that equal ones are one, forks are free, and every
step is remembered. native_machine.py does the same in C++.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from .lazy_dfa import DEAD, LazyDFA, LexemeAutomaton, LiteralTrie
from .masks import MaskTable
from .network import START, Network, Places, Target
from .trie_walk import TrieWalker, Walk
from .vocabulary import Bitmask, Row, Vocabulary

MAX_CONFIGURATIONS = 64
MAX_FORCED = 4096
BYTES_PER_STATE = 400  # a machine state with its steps, by measurement
BYTES_PER_LEXEME_STATE = 2500
FINISHED = -1


class Configuration(NamedTuple):
    """One way to read the text so far.

    Args:
        stack: number of the stack of frames that wait.
        place: number of the network's state, ``FINISHED`` after the whole text.
        lexeme: state of the place's automaton.
        captured: the bytes of the lexeme so far, where an edge of the place captures.
    """

    stack: int
    place: int
    lexeme: int
    captured: bytes = b""


DONE = Configuration(0, FINISHED, 0)


class Machine:
    """The automaton of a network, in Python.

    Args:
        network: the grammar.
        vocabulary: the tokens of the masks.
        walk: how they are found; see trie_walk.py.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary, walk: Walk | None = None) -> None:
        self._vocabulary = vocabulary
        self._places = Places(network)
        self._languages = LazyDFA()
        self._tries: dict[tuple[bytes, ...], LiteralTrie] = {}
        self._automata: dict[int, tuple[LexemeAutomaton, int]] = {}  # by place, with its start
        self._masks = MaskTable(self._mask, vocabulary)
        self._walker = TrieWalker(vocabulary, self._step, walk)
        self._lock = threading.RLock()
        self._stacks: list[tuple[int, int]] = [(0, FINISHED)]  # (below, place to return to)
        self._stack_numbers: dict[tuple[int, int], int] = {}
        self._states: list[tuple[Configuration, ...]] = [()]
        self._numbers: dict[tuple[Configuration, ...], int] = {(): DEAD}
        self._steps: dict[int, int] = {}
        self.start = self._number(set(self._enter(0, START)))

    def advance(self, state: int, text: bytes) -> int:
        """The state after some bytes; ``DEAD`` where they cannot come."""
        with self._lock:
            for byte in text:
                state = self._step(state, byte)
                if state == DEAD:
                    break
            return state

    def advance_token(self, state: int, token_id: int) -> int:
        """The state after the bytes of a token; special tokens have none and lead nowhere."""
        text = self._vocabulary.token_bytes[token_id]
        return self.advance(state, text) if text else DEAD

    def is_accepting(self, state: int) -> bool:
        """Whether the text so far is complete."""
        return DONE in self._states[state]

    def is_finished(self, state: int) -> bool:
        """Whether the text so far is complete and nothing may follow."""
        with self._lock:
            return self.is_accepting(state) and not self._next_bytes(state)

    def forced(self, state: int) -> bytes:
        """The bytes that must come next."""
        forced = bytearray()
        with self._lock:
            while len(forced) < MAX_FORCED and not self.is_accepting(state):
                following = self._next_bytes(state)
                if following.bit_count() != 1:
                    break
                forced.append(following.bit_length() - 1)
                state = self._step(state, forced[-1])
        return bytes(forced)

    def fill(self, state: int, bitmask: Bitmask, row: int) -> None:
        """Writes the tokens that may come next, EOS among them where the text is complete."""
        bitmask[row] = self._masks.row(state)

    def _mask(self, state: int) -> Row:
        with self._lock:
            tokens = self._walker.tokens(state)
        ends = self._vocabulary.eos_token_ids if self.is_accepting(state) else ()
        return self._vocabulary.row_of(np.append(tokens, np.array(ends, np.int32)))

    @property
    def memory_bytes(self) -> int:
        """An estimate of what the states and automata built so far hold."""
        automata: list[LexemeAutomaton] = [self._languages, *self._tries.values()]
        lexeme_states = sum(automaton.num_states for automaton in automata)
        states = len(self._states) + len(self._steps)
        rows = self._masks.memory_bytes + self._walker.memory_bytes
        return rows + BYTES_PER_LEXEME_STATE * lexeme_states + BYTES_PER_STATE * states

    def _automaton(self, number: int) -> tuple[LexemeAutomaton, int]:
        """What follows the lexemes of a place, and its state before them."""
        found = self._automata.get(number)
        if found is None:
            place = self._places.place(number)
            if place.texts:
                trie = self._tries.setdefault(place.texts, LiteralTrie(place.texts))
                found = (trie, trie.start)
            else:
                found = (self._languages, self._languages.state_of(place.edges[0].lexeme))
            self._automata[number] = found
        return found

    def _step(self, state: int, byte: int) -> int:
        key = state << 8 | byte
        known = self._steps.get(key)
        if known is None:
            following: set[Configuration] = set()
            for configuration in self._states[state]:
                following.update(self._advanced(configuration, byte))
            known = self._steps[key] = self._number(following)
        return known

    def _next_bytes(self, state: int) -> int:
        bits = 0
        for configuration in self._states[state]:
            if configuration.place != FINISHED:
                row = self._automaton(configuration.place)[0].row(configuration.lexeme)
                bits |= int.from_bytes(np.packbits(row > 0, bitorder="little").tobytes(), "little")
        return bits

    def _advanced(self, configuration: Configuration, byte: int) -> list[Configuration]:
        if configuration.place == FINISHED:
            return []
        automaton, _ = self._automaton(configuration.place)
        lexeme = int(automaton.row(configuration.lexeme)[byte])
        if lexeme == DEAD:
            return []
        edges = self._places.place(configuration.place).edges
        captures = any(edge.capture is not None for edge in edges)
        captured = configuration.captured + bytes((byte,)) if captures else b""
        reached = configuration._replace(lexeme=lexeme, captured=captured)
        following = [reached] if automaton.row(lexeme).any() else []
        return following + self._followed(reached)

    def _followed(self, reached: Configuration) -> list[Configuration]:
        """The configurations after the lexemes that end here."""
        labels = self._automaton(reached.place)[0].labels(reached.lexeme)
        return [
            configuration
            for label in labels
            for target in self._places.targets(reached.place, label, reached.captured)
            for configuration in self._follow(reached.stack, target)
        ]

    def _follow(self, stack: int, target: Target) -> list[Configuration]:
        if target.state is None:
            below, place = self._stacks[stack]
            return [DONE] if place == FINISHED else self._enter(below, place)
        place = self._places.number(target.state)
        if target.nested is None:
            return self._enter(stack, place)
        return self._enter(self._push(stack, place), self._places.number(target.nested))

    def _enter(self, stack: int, place: int) -> list[Configuration]:
        entered = []
        group: int | None = place
        while group is not None:
            configuration = Configuration(stack, group, self._automaton(group)[1])
            entered += [configuration, *self._followed(configuration)]
            group = self._places.place(group).also
        return entered

    def _push(self, stack: int, place: int) -> int:
        key = (stack, place)
        number = self._stack_numbers.get(key)
        if number is None:
            number = self._stack_numbers[key] = len(self._stacks)
            self._stacks.append(key)
        return number

    def _number(self, configurations: set[Configuration]) -> int:
        key = tuple(sorted(configurations)[:MAX_CONFIGURATIONS])  # fewer readings are still sound
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append(key)
        return number
