"""The edges of each state of the JSON machine, for one schema.

Everything that may come up later is normalised here once, so that what cannot be enforced is
refused before the first token. Automata of lexemes are still built lazily.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..errors import GrammarError, UnsupportedGrammarError
from ..json_options import JsonOptions
from ..languages import count_words, is_empty
from ..network import END, Edge, State, Target
from ..regex_tree import (
    EPSILON,
    Concat,
    Literal,
    Node,
    Words,
    alternate,
    complement,
    concat,
    intersect,
    literal,
)
from .array_states import item_formulas, may_close, next_items, opening_state
from .document import Document
from .formula import Formula, all_of, negation
from .liveness import Liveness
from .normaliser import Normaliser
from .number_language import CANONICAL_NUMBER, INTEGER, NUMBER, PLAIN_INTEGER
from .object_states import ObjectPlan, formulas_without_patterns
from .property_sequence import PropertySequence
from .punctuation import punctuation_of
from .shapes import BOOLEAN, NULL, ArrayShape, ObjectShape
from .states import ArrayState, JsonState, ObjectState, UniqueItemState, ValueState
from .string_language import STRING

MAX_FORMULAS = 20_000
ONE_SPELLING = alternate(NULL, BOOLEAN, STRING, CANONICAL_NUMBER)
NO_NUMBERS = (NULL, BOOLEAN, STRING)
NOT_WHOLE = intersect(NUMBER, complement(INTEGER))
WHOLE_WITH_FRACTION = intersect(INTEGER, complement(PLAIN_INTEGER))


class JsonNetwork:
    """The recursive transition network of a schema; a ``Network``.

    Args:
        schema: parsed JSON of the schema.
        options: spelling and reading.

    Raises:
        GrammarError: the schema is wrong, or nothing satisfies it.
        UnsupportedGrammarError: something in it cannot be enforced.
    """

    def __init__(self, schema: dict[str, Any] | bool, options: JsonOptions) -> None:
        document = Document(schema)
        self._options = options
        self._punctuation = punctuation_of(options)
        self._normaliser = Normaliser(document, options)
        self._liveness = Liveness(self._normaliser, options.any_order)
        self._sequences: dict[ObjectPlan, PropertySequence] = {}
        root = document.root
        self.start = ValueState(root)
        self._check(root)
        if not self._liveness.satisfiable(root):
            raise GrammarError("no JSON value satisfies the schema", pointer="")
        self._normaliser.lift_deadline()

    def edges(self, state: State) -> tuple[Edge, ...]:
        """The edges out of a state, only those from which the text can be completed."""
        if isinstance(state, ValueState):
            return tuple(self._value_edges(state.formula))
        if isinstance(state, ArrayState):
            return tuple(self._array_edges(state))
        if isinstance(state, UniqueItemState):
            return (self._unique_item_edge(state),)
        assert isinstance(state, ObjectState)
        if state.plan.in_sequence:
            return tuple(self._sequence(state.plan).edges(state))
        return tuple(self._object_edges(state))

    def with_captured(self, state: State, text: str) -> JsonState:
        """The state that also knows this key or item."""
        assert isinstance(state, ArrayState | ObjectState)
        return state._replace(seen=state.seen | {text})

    def _sequence(self, plan: ObjectPlan) -> PropertySequence:
        found = self._sequences.get(plan)
        if found is None:
            found = PropertySequence(plan, self._liveness, self._punctuation)
            self._sequences[plan] = found
        return found

    def _value_edges(self, formula: Formula) -> Iterator[Edge]:
        values = self._normaliser.values(formula)
        scalars = values.scalars
        if not self._options.integer_fraction:
            scalars = without_idle_fraction(scalars)
        if not is_empty(scalars):
            yield Edge(scalars, END)
        arrays = [target for shape in values.arrays for target in self._array_targets(shape)]
        if arrays:
            yield Edge(self._punctuation.open_array, tuple(arrays))
        objects = [
            Target(state)
            for shape in values.objects
            if (state := self._liveness.plan(shape).opening_state()) is not None
            and self._liveness.completes_object(state)
        ]
        if objects:
            yield Edge(self._punctuation.open_object, tuple(objects))

    def _array_targets(self, shape: ArrayShape) -> Iterator[Target]:
        state = opening_state(shape)
        if may_close(state):
            yield Target(state._replace(closes_only=True))
        yield from self._item_targets(state)

    def _item_targets(self, state: ArrayState) -> Iterator[Target]:
        for formula, after in next_items(state):
            if not self._liveness.completes_array(after):
                continue
            if not self._liveness.satisfiable(formula):
                continue
            if state.shape.unique_at is None:
                yield Target(after, ValueState(formula))
            elif not is_empty(self._unique_items(formula, state.seen)):
                yield Target(UniqueItemState(formula, after))

    def _array_edges(self, state: ArrayState) -> Iterator[Edge]:
        if state.closes_only or may_close(state):
            yield Edge(self._punctuation.close_array, END)
        if not state.closes_only:
            targets = tuple(self._item_targets(state))
            if targets:
                yield Edge(self._punctuation.comma, targets)

    def _unique_item_edge(self, state: UniqueItemState) -> Edge:
        items = self._unique_items(state.formula, state.after.seen)
        return Edge(items, (Target(state.after),), "all")

    def _unique_items(self, formula: Formula, seen: frozenset[str]) -> Node:
        """Scalars in one spelling each, without the texts in ``seen``."""
        scalars = self._normaliser.values(formula).scalars
        fresh = complement(alternate(*(literal(text) for text in seen)))
        return intersect(scalars, ONE_SPELLING, fresh)

    def _object_edges(self, state: ObjectState) -> Iterator[Edge]:
        plan = state.plan
        if plan.may_close(state):
            yield Edge(self._punctuation.close_object, END)
        targets: dict[Node, list[Target]] = {}
        for choice, formula, after in plan.next_keys(state):
            keys = choice.keys
            if choice.name is None and state.seen:
                keys = intersect(keys, complement(alternate(*(literal(k) for k in state.seen))))
            if self._liveness.satisfiable(formula) and self._liveness.completes_object(after):
                targets.setdefault(keys, []).append(Target(after, ValueState(formula)))
        before = self._punctuation.comma if state.size else EPSILON
        for keys, following in targets.items():
            lexeme = concat(before, keys, self._punctuation.colon)
            tracked = plan.tracks_keys and keys not in plan.declared_keys
            yield Edge(lexeme, tuple(following), "quoted" if tracked else None)

    def _check(self, root: Formula) -> None:
        """Normalises every formula that can come up.

        Raises:
            UnsupportedGrammarError: one of them cannot be enforced.
        """
        seen: set[object] = {root}
        pending = [root]
        while pending:
            values = self._normaliser.values(pending.pop())
            if values.scalars.empty is None:
                is_empty(values.scalars)  # may be too hard to tell, and then not in mid-text
            found: list[Formula] = []
            for array in values.arrays:
                if array not in seen:
                    seen.add(array)
                    found += self._check_array(array)
            for shape in values.objects:
                if shape not in seen:
                    seen.add(shape)
                    found += self._check_keys(shape)
            for formula in found:
                if formula not in seen:
                    seen.add(formula)
                    pending.append(formula)
            if len(seen) > MAX_FORMULAS:
                raise UnsupportedGrammarError(
                    f"the schema combines to more than {MAX_FORMULAS} conditions"
                )

    def _check_keys(self, shape: ObjectShape) -> list[Formula]:
        formulas = formulas_without_patterns(shape)
        if formulas is not None:  # the usual case, without a plan
            return formulas
        plan = self._liveness.plan(shape)
        choices = (*plan.declared, *plan.others)
        return [choice.formula for choice in choices] + [
            all_of([choice.formula, shape.some[index].formula])
            for choice in choices
            for index in choice.some
        ]

    def _check_array(self, shape: ArrayShape) -> list[Formula]:
        groups = shape.groups
        is_plain = shape.unique_at is None and shape.max_items is None and not shape.some
        if is_plain and len(groups) == 1 and not groups[0].prefix:  # the usual case
            return [groups[0].rest]
        formulas = list(item_formulas(shape))
        if shape.unique_at is not None and (shape.max_items is None or shape.max_items > 1):
            self._check_unique(shape, formulas)
        for some in shape.some:
            matching = [all_of([formula, some.formula]) for formula in formulas]
            others = [all_of([formula, negation(some.formula)]) for formula in formulas]
            formulas = [*formulas, *matching, *(others if some.maximum is not None else ())]
        return formulas

    def _check_unique(self, shape: ArrayShape, formulas: list[Formula]) -> None:
        """Distinct items are enforced on scalars only, with enough of them to choose from."""
        complaint = "beside contains" if shape.some else None
        for index, formula in enumerate(formulas):
            values = self._normaliser.values(formula)
            if any(map(self._liveness.opens_array, values.arrays)) or any(
                map(self._liveness.opens_object, values.objects)
            ):
                complaint = "of items that may be arrays or objects"
                break
            last = index == len(formulas) - 1
            needed = shape.min_items if last else min(index + 1, shape.min_items)
            if count_words(self._unique_items(formula, frozenset()), needed) < needed:
                complaint = f"with {shape.min_items} items of too few values"
        if complaint is not None:
            raise UnsupportedGrammarError(
                f"uniqueItems {complaint} is not supported",
                keyword="uniqueItems",
                pointer=shape.unique_at,
            )


def _begins_with_quote(scalars: Node) -> bool:
    """Whether that is plain to see."""
    first = scalars.first if isinstance(scalars, Concat) else scalars
    texts = first.texts if isinstance(first, Words) else ()
    texts = (first.text,) if isinstance(first, Literal) else texts
    return bool(texts) and all(text.startswith(b'"') for text in texts)


@lru_cache(4096)
def without_idle_fraction(scalars: Node) -> Node:
    """Scalars without spellings such as ``1.0`` where all numbers are whole."""
    if scalars in NO_NUMBERS or _begins_with_quote(scalars):
        return scalars
    try:
        whole = is_empty(intersect(scalars, NOT_WHOLE))
    except UnsupportedGrammarError:  # too hard to tell; either spelling is right
        return scalars
    return intersect(scalars, complement(WHOLE_WITH_FRACTION)) if whole else scalars
