"""Which formulas a value exists for, and which states can be completed: no mask is a dead end.

Both are least fixed points: a schema that needs itself inside itself has no finite value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..languages import is_empty
from .array_states import may_close, needed_formulas, next_items, opening_state
from .formula import FALSE, TRUE, Formula
from .normaliser import Normaliser
from .object_states import ObjectPlan, required_formulas
from .shapes import ArrayShape, ObjectShape
from .states import ArrayState, ObjectState


class Liveness:
    """Answers for one document.

    Args:
        normaliser: gives the values of formulas.
        any_order: as in ``JsonOptions``.
    """

    def __init__(self, normaliser: Normaliser, any_order: bool) -> None:
        self._normaliser = normaliser
        self._any_order = any_order
        self._plans: dict[ObjectShape, ObjectPlan] = {}
        self._known: dict[Hashable, bool] = {}
        self._depth: dict[Hashable, int] = {}
        self._assumed = 1 << 30  # least depth of the questions in progress that were asked again

    def plan(self, shape: ObjectShape) -> ObjectPlan:
        found = self._plans.get(shape)
        if found is None:
            found = self._plans[shape] = ObjectPlan(shape, self._any_order)
        return found

    def satisfiable(self, formula: Formula) -> bool:
        """Whether some finite JSON value satisfies the formula."""
        if formula is TRUE or formula is FALSE:
            return formula is TRUE
        if self._normaliser.values(formula).scalars.empty is False:  # the usual case
            return True
        return self._least(formula, lambda: self._has_value(formula))

    def opens_array(self, shape: ArrayShape) -> bool:
        """Whether some array is of this shape."""
        return self.completes_array(opening_state(shape))

    def opens_object(self, shape: ObjectShape) -> bool:
        """Whether some object is of this shape."""
        required = required_formulas(shape)
        if required is not None:  # the usual case, without a plan
            return all(map(self.satisfiable, required))
        state = self.plan(shape).opening_state()
        return state is not None and self.completes_object(state)

    def completes_array(self, state: ArrayState) -> bool:
        """Whether the array can be brought to its end from here."""
        if may_close(state):
            return True
        shape = state.shape
        if not shape.some:  # the usual case, without a question per item
            return all(self.satisfiable(formula) for formula in needed_formulas(state)) and (
                shape.max_items is None or shape.min_items <= shape.max_items
            )
        return self._least(
            state,
            lambda: any(
                self.satisfiable(formula) and self.completes_array(after)
                for formula, after in next_items(state._replace(seen=frozenset()))
            ),
        )

    def completes_object(self, state: ObjectState) -> bool:
        """Whether the object can be brought to its end from here."""
        plan = state.plan
        if plan.may_close(state):
            return True
        if plan.needed_suffice(state):  # the usual case, without a question per property
            return all(self.satisfiable(plan.choice(name).formula) for name in state.needed)
        return self._least(
            state,
            lambda: any(
                self.satisfiable(formula) and self.completes_object(after)
                for _, formula, after in plan.next_keys(state)
            ),
        )

    def _has_value(self, formula: Formula) -> bool:
        values = self._normaliser.values(formula)
        return (
            not is_empty(values.scalars)
            or any(self.opens_array(shape) for shape in values.arrays)
            or any(self.opens_object(shape) for shape in values.objects)
        )

    def _least(self, question: Hashable, answer: Callable[[], bool]) -> bool:
        """The least fixed point: a question asked within itself is answered by no.

        Such a no holds only inside the question that it came from, so it is not remembered
        unless that question has been settled.
        """
        known = self._known.get(question)
        if known is not None:
            return known
        if question in self._depth:
            self._assumed = min(self._assumed, self._depth[question])
            return False
        depth = self._depth[question] = len(self._depth)
        outer, self._assumed = self._assumed, 1 << 30
        try:
            result = answer()
        finally:
            del self._depth[question]
        if result or self._assumed >= depth:
            self._known[question] = result
            self._assumed = outer
        else:
            self._assumed = min(outer, self._assumed)
        return result
