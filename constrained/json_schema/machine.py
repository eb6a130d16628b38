"""The JSON machine: immutable, interned states that advance by bytes.

A machine state is a set of configurations, one for each way to read the text so far. A
configuration is a stack of frames to return to, a state of the network, and a state of the
automaton over the lexemes that lead out of it. Stacks and machine states are numbered, so that
equal ones are one, forks are free, and every step is remembered.
"""

from __future__ import annotations

from typing import NamedTuple

from ..lazy_dfa import DEAD, LazyDFA
from ..regex_tree import Node
from .network import JsonNetwork
from .states import Edge, State, Target, ValueState, with_seen

MAX_CONFIGURATIONS = 64
BYTES_PER_STATE = 400  # a machine state with its steps, by measurement
BYTES_PER_ROW = 2500


class Configuration(NamedTuple):
    """One way to read the text so far.

    Args:
        stack: number of the stack of frames that wait.
        place: number of the network state, ``FINISHED`` after the whole value.
        lexeme: state of the automaton over the lexemes that lead out of it.
        captured: the bytes of the lexeme so far, where the place remembers them.
    """

    stack: int
    place: int
    lexeme: int
    captured: bytes = b""


FINISHED = -1
DONE = Configuration(0, FINISHED, 0)


class Place:
    """A network state with its edges compiled into one automaton."""

    __slots__ = ("automaton", "captures", "edges")

    def __init__(self, edges: tuple[Edge, ...], automaton: LazyDFA) -> None:
        self.edges = edges
        self.automaton = automaton
        self.captures = any(edge.capture is not None for edge in edges)


class JsonMachine:
    """The automaton of a schema: ``start``, ``step``, ``is_accepting``, ``next_bytes``.

    Args:
        network: the edges of the schema's states.
    """

    def __init__(self, network: JsonNetwork) -> None:
        self._network = network
        self._state_numbers: dict[State, int] = {}
        self._network_states: list[State] = []
        self._places: dict[int, Place] = {}
        self._automata: dict[tuple[Node, ...], LazyDFA] = {}
        self._stacks: list[tuple[int, int]] = [(0, FINISHED)]  # (below, place to return to)
        self._stack_numbers: dict[tuple[int, int], int] = {}
        self._states: list[tuple[Configuration, ...]] = [()]
        self._numbers: dict[tuple[Configuration, ...], int] = {(): DEAD}
        self._steps: dict[int, int] = {}
        self.start = self._number({self._enter(0, self._place_of(network.start))})

    def step(self, state: int, byte: int) -> int:
        """The state after one more byte; ``DEAD`` where the byte cannot come."""
        key = state << 8 | byte
        known = self._steps.get(key)
        if known is None:
            following: set[Configuration] = set()
            for configuration in self._states[state]:
                following.update(self._advance(configuration, byte))
            known = self._steps[key] = self._number(following)
        return known

    def is_accepting(self, state: int) -> bool:
        """Whether the text so far is a whole value."""
        return DONE in self._states[state]

    def next_bytes(self, state: int) -> int:
        """The bytes that can come next, as a bit set of 256."""
        bits = 0
        for configuration in self._states[state]:
            if configuration.place != FINISHED:
                automaton = self._place(configuration.place).automaton
                bits |= automaton.next_bytes(configuration.lexeme)
        return bits

    @property
    def memory_bytes(self) -> int:
        """An estimate of what the states and automata built so far hold."""
        rows = sum(automaton.num_states for automaton in self._automata.values())
        return BYTES_PER_ROW * rows + BYTES_PER_STATE * (len(self._states) + len(self._steps))

    def _advance(self, configuration: Configuration, byte: int) -> list[Configuration]:
        if configuration.place == FINISHED:
            return []
        place = self._place(configuration.place)
        lexeme = place.automaton.step(configuration.lexeme, byte)
        if lexeme == DEAD:
            return []
        captured = configuration.captured + bytes((byte,)) if place.captures else b""
        following = []
        if place.automaton.next_bytes(lexeme):
            following.append(configuration._replace(lexeme=lexeme, captured=captured))
        for label in place.automaton.labels(lexeme):
            edge = place.edges[label]
            following += [
                self._follow(configuration.stack, edge, target, captured) for target in edge.targets
            ]
        return following

    def _follow(self, stack: int, edge: Edge, target: Target, captured: bytes) -> Configuration:
        """The configuration after a whole lexeme."""
        state = target.state
        if state is None:
            below, place = self._stacks[stack]
            return DONE if place == FINISHED else self._enter(below, place)
        if edge.capture is not None:
            end = len(captured) - edge.capture.drop
            state = with_seen(state, captured[edge.capture.skip : end].decode())
        place = self._place_of(state)
        if target.value is None:
            return self._enter(stack, place)
        return self._enter(self._push(stack, place), self._place_of(ValueState(target.value)))

    def _enter(self, stack: int, place: int) -> Configuration:
        return Configuration(stack, place, self._place(place).automaton.start)

    def _push(self, stack: int, place: int) -> int:
        key = (stack, place)
        number = self._stack_numbers.get(key)
        if number is None:
            number = self._stack_numbers[key] = len(self._stacks)
            self._stacks.append(key)
        return number

    def _place_of(self, state: State) -> int:
        number = self._state_numbers.get(state)
        if number is None:
            number = self._state_numbers[state] = len(self._network_states)
            self._network_states.append(state)
        return number

    def _place(self, number: int) -> Place:
        place = self._places.get(number)
        if place is None:
            edges = self._network.edges(self._network_states[number])
            place = self._places[number] = Place(edges, self._automaton(edges))
        return place

    def _automaton(self, edges: tuple[Edge, ...]) -> LazyDFA:
        lexemes = tuple(edge.lexeme for edge in edges)
        automaton = self._automata.get(lexemes)
        if automaton is None:
            automaton = self._automata[lexemes] = LazyDFA(lexemes)
        return automaton

    def _number(self, configurations: set[Configuration]) -> int:
        key = tuple(sorted(configurations)[:MAX_CONFIGURATIONS])  # fewer readings are still sound
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append(key)
        return number
