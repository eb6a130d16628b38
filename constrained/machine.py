"""Follows a recursive transition network through a text, byte by byte.

A machine state is a set of configurations, one for each way to read the text so far. Stacks and
machine states are immutable and numbered, so that equal ones are one, forks are free, and every
step is remembered. native_machine.py does the same in C++.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from .lazy_dfa import DEAD, LazyDFA
from .network import Network, Places, Target
from .vocabulary import Row, Vocabulary

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
    """

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._places = Places(network, LazyDFA(vocabulary.max_token_len))
        self._lock = threading.RLock()
        self._stacks: list[tuple[int, int]] = [(0, FINISHED)]  # (below, place to return to)
        self._stack_numbers: dict[tuple[int, int], int] = {}
        self._states: list[tuple[Configuration, ...]] = [()]
        self._numbers: dict[tuple[Configuration, ...], int] = {(): DEAD}
        self._steps: dict[int, int] = {}
        self.start = self._number(set(self._enter(0, self._places.number(network.start))))

    def advance(self, state: int, text: bytes) -> int:
        """The state after some bytes; ``DEAD`` where they cannot come."""
        with self._lock:
            for byte in text:
                state = self._step(state, byte)
                if state == DEAD:
                    break
            return state

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

    def allowed(self, state: int) -> Row:
        """The tokens whose bytes lead to a living state, int32 ``[ceil(V/32)]``."""
        vocabulary = self._vocabulary
        node_bytes = vocabulary.node_bytes.tobytes()
        found: list[int] = []
        subtrees = [(len(node_bytes), state)]  # open ones: their ends, the states at their roots
        node = 0
        with self._lock:
            while node < len(node_bytes):
                while node >= subtrees[-1][0]:
                    subtrees.pop()
                end = int(vocabulary.node_skip[node])
                reached = self._step(subtrees[-1][1], node_bytes[node])
                if reached == DEAD:
                    node = end
                    continue
                found.extend(range(vocabulary.node_tokens[node], vocabulary.node_tokens[node + 1]))
                subtrees.append((end, reached))
                node += 1
        return vocabulary.row_of(vocabulary.order[np.array(found, np.int64)])

    @property
    def memory_bytes(self) -> int:
        """An estimate of what the states and automata built so far hold."""
        lexeme_states = self._places.num_lexeme_states
        states = len(self._states) + len(self._steps)
        return BYTES_PER_LEXEME_STATE * lexeme_states + BYTES_PER_STATE * states

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
                row = self._places.place(configuration.place).automaton.row(configuration.lexeme)
                bits |= int.from_bytes(np.packbits(row > 0, bitorder="little").tobytes(), "little")
        return bits

    def _advanced(self, configuration: Configuration, byte: int) -> list[Configuration]:
        if configuration.place == FINISHED:
            return []
        place = self._places.place(configuration.place)
        lexeme = int(place.automaton.row(configuration.lexeme)[byte])
        if lexeme == DEAD:
            return []
        captures = any(edge.capture is not None for edge in place.edges)
        captured = configuration.captured + bytes((byte,)) if captures else b""
        reached = configuration._replace(lexeme=lexeme, captured=captured)
        following = [reached] if place.automaton.row(lexeme).any() else []
        return following + self._followed(reached)

    def _followed(self, reached: Configuration) -> list[Configuration]:
        """The configurations after the lexemes that end here."""
        labels = self._places.place(reached.place).automaton.labels(reached.lexeme)
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
            configuration = Configuration(stack, group, self._places.place(group).start)
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
