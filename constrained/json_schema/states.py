"""The states of the JSON machine and what leads from one to another.

The machine is a recursive transition network: a state belongs to one frame (a value, an array or
an object being written), and an edge is a regular lexeme of JSON text after which the frame ends,
goes on in another state, or waits there while a nested value is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..regex_tree import Node
from .formula import Formula
from .shapes import ArrayShape, ObjectShape


@dataclass(slots=True, frozen=True)
class ValueState:
    """Before a value that satisfies the formula."""

    formula: Formula


@dataclass(slots=True, frozen=True)
class ArrayState:
    """After an item of an array, or after the opening bracket if ``closes_only``.

    Args:
        shape: what the array must satisfy.
        index: items so far, clipped where more make no difference.
        counts: per ``shape.some``, the items that were taken to satisfy it.
        seen: texts of the items so far where they must differ.
        closes_only: only the closing bracket may follow.
    """

    shape: ArrayShape
    index: int
    counts: tuple[int, ...]
    seen: frozenset[str] = frozenset()
    closes_only: bool = False


@dataclass(slots=True, frozen=True)
class UniqueItemState:
    """Before an item of an array whose items must differ; ``after`` follows it."""

    formula: Formula
    after: ArrayState


@dataclass(slots=True, frozen=True)
class ObjectState:
    """After a property of an object, or after the opening brace where ``count`` is 0.

    Args:
        shape: what the object must satisfy.
        cursor: index of the first declared property that may still come (fixed order).
        used: declared names that occurred, where that makes a difference later.
        needed: names that must still come.
        count: properties so far, clipped where more make no difference.
        some: indices of ``shape.some`` not yet satisfied.
        others: number of undeclared keys so far, where keys must be told apart.
        seen: the undeclared keys themselves, quoted.
    """

    shape: ObjectShape
    cursor: int
    used: frozenset[str]
    needed: frozenset[str]
    count: int
    some: frozenset[int]
    others: int = 0
    seen: frozenset[str] = field(default=frozenset())


State = ValueState | ArrayState | UniqueItemState | ObjectState


class Target(NamedTuple):
    """What follows a lexeme: an optional nested value, then a state, or the end of the frame."""

    state: State | None
    value: Formula | None = None


class Capture(NamedTuple):
    """The text of a lexeme, less some bytes at either end, joins ``seen`` of what follows."""

    skip: int
    drop: int


class Edge(NamedTuple):
    """A lexeme and all that may follow it."""

    lexeme: Node
    targets: tuple[Target, ...]
    capture: Capture | None = None


END = (Target(None),)


def with_seen(state: State, text: str) -> State:
    """The state that remembers the text of a lexeme."""
    assert isinstance(state, ArrayState | ObjectState)
    return replace(state, seen=state.seen | {text})
