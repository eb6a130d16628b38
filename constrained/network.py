"""Recursive transition networks: what a grammar is to the machines that follow it.

A state belongs to one frame (a JSON value, an array being written ...). An edge is a regular
lexeme after which the frame ends, goes on in another state, or waits there while a nested frame
is written. States are made on demand; the machines ask for the edges of those they reach.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple, Protocol

from .lazy_dfa import LazyDFA, LexemeAutomaton, LiteralTrie
from .regex_tree import Literal, Node

State = Hashable


class Target(NamedTuple):
    """What follows a lexeme.

    Args:
        state: where the frame goes on; None where it ends.
        nested: the first state of a frame that is written before that.
    """

    state: State | None
    nested: State | None = None


class Capture(NamedTuple):
    """The text of a lexeme, less some bytes at either end, is handed to the network."""

    skip: int
    drop: int


class Edge(NamedTuple):
    """A lexeme and all that may follow it."""

    lexeme: Node
    targets: tuple[Target, ...]
    capture: Capture | None = None


END = (Target(None),)


class Network(Protocol):
    """The states and edges of one grammar. From every state its frame can be completed."""

    @property
    def start(self) -> State:
        """The state before the text."""

    def edges(self, state: State) -> tuple[Edge, ...]:
        """What leads out of a state."""

    def with_captured(self, state: State, text: str) -> State:
        """The state that remembers a captured text."""


class Place(NamedTuple):
    """Some of the edges out of a network's state, with one automaton over their lexemes.

    Literals are followed together. Every other lexeme has a place of its own, because then its
    states are those of one language, which other places have too; ``also`` is the next of them.
    """

    edges: tuple[Edge, ...]
    automaton: LexemeAutomaton
    start: int
    also: int | None


class Places:
    """The states of a network by number, compiled when first asked for.

    Args:
        network: the grammar.
        automaton: follows the lexemes that are not literals.
    """

    def __init__(self, network: Network, automaton: LazyDFA) -> None:
        self._network = network
        self._automaton = automaton
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._places: dict[int, Place] = {}
        self._tries: dict[tuple[bytes, ...], LiteralTrie] = {}

    def number(self, state: State) -> int:
        found = self._numbers.get(state)
        if found is None:
            found = self._numbers[state] = len(self._states)
            self._states.append(state)
        return found

    def place(self, number: int) -> Place:
        if number not in self._places:
            self._compile(number)
        return self._places[number]

    def targets(self, number: int, label: int, captured: bytes) -> tuple[Target, ...]:
        """What follows a lexeme with this text."""
        edge = self.place(number).edges[label]
        if edge.capture is None:
            return edge.targets
        text = captured[edge.capture.skip : len(captured) - edge.capture.drop].decode()
        return tuple(
            target
            if target.state is None
            else target._replace(state=self._network.with_captured(target.state, text))
            for target in edge.targets
        )

    @property
    def num_lexeme_states(self) -> int:
        """States of the automata that no other grammar shares."""
        return sum(trie.num_states for trie in self._tries.values())

    def _compile(self, number: int) -> None:
        edges = self._network.edges(self._states[number])
        literals = tuple(edge for edge in edges if isinstance(edge.lexeme, Literal))
        groups: list[tuple[Edge, ...]] = [
            (edge,) for edge in edges if not isinstance(edge.lexeme, Literal)
        ]
        if literals:
            groups.append(literals)
        numbers = [number, *(self.number((number, index)) for index in range(1, len(groups)))]
        for index, group in enumerate(groups):
            automaton, start = self._start(group)
            also = numbers[index + 1] if index + 1 < len(groups) else None
            self._places[numbers[index]] = Place(group, automaton, start, also)

    def _start(self, edges: tuple[Edge, ...]) -> tuple[LexemeAutomaton, int]:
        texts = tuple(e.lexeme.text for e in edges if isinstance(e.lexeme, Literal))
        if not texts or b"" in texts:
            return self._automaton, self._automaton.state_of(edges[0].lexeme)
        trie = self._tries.get(texts)
        if trie is None:
            trie = self._tries[texts] = LiteralTrie(texts)
        return trie, trie.start
