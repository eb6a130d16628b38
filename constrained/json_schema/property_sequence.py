"""The edges of objects whose properties come in the order of the schema and are not counted.

Then the property that came last says all about what may follow, so each property has one edge,
made once, and what follows a property is a stretch of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..network import END, Edge, Target
from ..regex_tree import EPSILON, concat
from .liveness import Liveness
from .object_states import KeyChoice, ObjectPlan
from .punctuation import Punctuation
from .states import ObjectState, ValueState


class PropertySequence:
    """The properties of one plan that is ``in_sequence``.

    Args:
        plan: of an object that can be completed from its opening brace.
        liveness: tells which values exist.
        punctuation: what stands between properties.
    """

    def __init__(self, plan: ObjectPlan, liveness: Liveness, punctuation: Punctuation) -> None:
        self._plan = plan
        self._liveness = liveness
        self._punctuation = punctuation
        self._closing = Edge(punctuation.close_object, END)
        self._edges: dict[tuple[int, bool], Edge | None] = {}

    def edges(self, state: ObjectState) -> Iterator[Edge]:
        """The closing brace and the properties that may come next."""
        plan = self._plan
        if not state.needed:
            yield self._closing
        is_first = state.size == 0
        for index in range(state.cursor, len(plan.declared)):
            edge = self._edge(index, is_first)
            if edge is not None:
                yield edge
            if plan.declared[index].name in state.needed:
                return
        for index in range(len(plan.others)):
            edge = self._edge(len(plan.declared) + index, is_first)
            if edge is not None:
                yield edge

    def _edge(self, index: int, is_first: bool) -> Edge | None:
        """The edge of a declared property, or after them of other keys; None if it is dead."""
        key = (index, is_first)
        if key not in self._edges:
            self._edges[key] = self._made(index, is_first)
        return self._edges[key]

    def _made(self, index: int, is_first: bool) -> Edge | None:
        plan = self._plan
        num_declared = len(plan.declared)
        is_declared = index < num_declared
        choice = plan.declared[index] if is_declared else plan.others[index - num_declared]
        if not self._liveness.satisfiable(choice.formula):
            return None
        before = EPSILON if is_first else self._punctuation.comma
        lexeme = concat(before, choice.keys, self._punctuation.colon)
        return Edge(lexeme, partial(_targets, plan, index, choice))


def _targets(plan: ObjectPlan, index: int, choice: KeyChoice) -> tuple[Target, ...]:
    """What follows a key: its value, then the properties after it."""
    cursor = min(index + 1, len(plan.declared))
    needed = plan.needed_from(cursor)
    after = ObjectState(plan, cursor, frozenset(), needed, 1, frozenset())
    return (Target(after, ValueState(choice.formula)),)
