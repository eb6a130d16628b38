"""The states of the network of a JSON Schema: how far a value, an array or an object is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .formula import Formula
from .shapes import ArrayShape

if TYPE_CHECKING:
    from .object_states import ObjectPlan


class ValueState(NamedTuple):
    """Before a value that satisfies the formula."""

    formula: Formula


class ArrayState(NamedTuple):
    """After an item of an array, or after the opening bracket if ``closes_only``.

    Args:
        shape: what the array must satisfy.
        length: items so far, clipped where more make no difference.
        counts: per ``shape.some``, the items that were taken to satisfy it.
        seen: texts of the items so far where they must differ.
        closes_only: only the closing bracket may follow.
    """

    shape: ArrayShape
    length: int
    counts: tuple[int, ...]
    seen: frozenset[str] = frozenset()
    closes_only: bool = False


class UniqueItemState(NamedTuple):
    """Before an item of an array whose items must differ; ``after`` follows it."""

    formula: Formula
    after: ArrayState


class ObjectState(NamedTuple):
    """After a property of an object, or after the opening brace where ``size`` is 0.

    Args:
        plan: what the object must satisfy.
        cursor: index of the first declared property that may still come (fixed order).
        used: declared names that occurred, where that makes a difference later.
        needed: names that must still come.
        size: properties so far, clipped where more make no difference.
        some: indices of the shape's ``some`` not yet satisfied.
        others: number of undeclared keys so far, where keys must be told apart.
        seen: the undeclared keys themselves, quoted.
    """

    plan: ObjectPlan
    cursor: int
    used: frozenset[str]
    needed: frozenset[str]
    size: int
    some: frozenset[int]
    others: int = 0
    seen: frozenset[str] = frozenset()


JsonState = ValueState | ArrayState | UniqueItemState | ObjectState
