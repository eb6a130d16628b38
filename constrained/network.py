"""Recursive transition networks: what a grammar is to the machines that follow it.

A state belongs to one frame (a JSON value, an array being written ...). An edge is a regular
lexeme after which the frame ends, goes on in another state, or waits there while a nested frame
is written. States are made on demand; the machines ask for the edges of those they reach.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Literal as Choice
from typing import NamedTuple, Protocol

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


Capture = Choice["all", "quoted"]  # of a lexeme's text: all of it, or from quote to quote


class Edge:
    """A lexeme and all that may follow it; equal only to itself.

    Args:
        lexeme: its language.
        targets: each way to go on; or a function that finds them, where a text may never ask.
        capture: what of the text is handed to the network, if anything.

    Attributes:
        is_late: the targets are found when they are asked for.
    """

    __slots__ = ("_targets", "capture", "is_late", "lexeme")

    def __init__(
        self,
        lexeme: Node,
        targets: tuple[Target, ...] | Callable[[], tuple[Target, ...]],
        capture: Capture | None = None,
    ) -> None:
        self.lexeme = lexeme
        self.capture = capture
        self.is_late = callable(targets)
        self._targets = targets

    @property
    def targets(self) -> tuple[Target, ...]:
        """Each way to go on."""
        if callable(self._targets):
            self._targets = self._targets()
        return self._targets


END = (Target(None),)
START = 0  # the number of a network's first state


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
    """Some of the edges out of a network's state, whose lexemes one automaton follows.

    Args:
        edges: any number with literals for lexemes, or one with another lexeme: its states are
            then those of one language, which other places have too.
        texts: the literals, none of them empty; empty where there is another lexeme.
        also: the place of further edges out of the state.
    """

    edges: tuple[Edge, ...]
    texts: tuple[bytes, ...]
    also: int | None


class Places:
    """The states of a network by number, compiled when first asked for.

    Args:
        network: the grammar.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._places: dict[int, Place] = {}
        self.number(network.start)

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
        if edge.capture == "quoted":
            captured = captured[captured.index(b'"') : captured.rindex(b'"') + 1]
        text = captured.decode()
        return tuple(
            target
            if target.state is None
            else target._replace(state=self._network.with_captured(target.state, text))
            for target in edge.targets
        )

    def _compile(self, number: int) -> None:
        literals: list[Edge] = []
        texts: list[bytes] = []
        groups: list[tuple[tuple[Edge, ...], tuple[bytes, ...]]] = []
        for edge in self._network.edges(self._states[number]):
            if isinstance(edge.lexeme, Literal) and edge.lexeme.text:
                literals.append(edge)
                texts.append(edge.lexeme.text)
            else:
                groups.append(((edge,), ()))
        if literals:
            groups.append((tuple(literals), tuple(texts)))
        numbers = [number, *(self.number((number, index)) for index in range(1, len(groups)))]
        for (edges, spelled), at, also in zip(groups, numbers, (*numbers[1:], None), strict=True):
            self._places[at] = Place(edges, spelled, also)
