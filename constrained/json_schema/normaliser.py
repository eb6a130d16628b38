"""Formulas to sets of values: the keywords that combine schemas, reduced to boolean operations.

``unevaluated*`` needs to know which subschemas held. Below such a keyword (``tracking``) an
``anyOf`` is the union over the sets of branches that hold together, so that each shape's own
groups are exactly what was evaluated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import combinations

from ..errors import GrammarError, UnsupportedGrammarError
from ..json_options import JsonOptions
from ..languages import is_empty, matches
from ..regex_tree import intersect
from .document import Document
from .formula import FALSE, TRUE, AllOf, AnyOf, Formula, any_of
from .keyword_sets import COMBINING_KEYWORDS
from .keywords import KeywordReader
from .shapes import (
    ANY,
    NONE,
    ArrayShape,
    ItemGroup,
    ObjectShape,
    PropertyGroup,
    PropertyRules,
    Values,
    formula_of_item,
)
from .string_language import STRING, quoted_text
from .subschema import Subschema

MAX_TRACKED_BRANCHES = 6
COMPILE_SECONDS = 2.0  # of this thread's CPU time
LOOKAHEAD = 2  # levels of nesting that the search for disjoint branches descends


class ReferenceLoopError(GrammarError):
    """A schema refers to itself without a step into the value."""


class Normaliser:
    """The set of values of each formula over one document, computed once.

    Args:
        document: the schema.
        options: how formats are read.
    """

    def __init__(self, document: Document, options: JsonOptions) -> None:
        self._document = document
        self._reader = KeywordReader(document, options)
        self._known: dict[Formula, Values | None] = {}  # None while it is being computed
        self._tracked: dict[Formula, Values | None] = {}
        self._deadline = time.thread_time() + COMPILE_SECONDS
        self._not_before = time.perf_counter() + COMPILE_SECONDS  # which takes less to read

    def values(self, formula: Formula, tracking: bool = False) -> Values:
        """The values that satisfy a formula.

        Raises:
            GrammarError: a schema in it is wrong or refers to itself without end.
            UnsupportedGrammarError: a schema in it cannot be enforced.
        """
        all_known = self._tracked if tracking else self._known
        known = all_known.get(formula)
        if known is not None:
            return known
        if formula in all_known:
            raise ReferenceLoopError("$ref leads back to itself", keyword="$ref")
        if len(all_known) % 16 == 0 and self._is_late():
            raise GrammarError(f"the schema takes more than {COMPILE_SECONDS} s to compile")
        all_known[formula] = None  # in progress
        try:
            result = all_known[formula] = self._compute(formula, tracking)
        except BaseException:
            del all_known[formula]
            raise
        return result

    def _is_late(self) -> bool:
        return time.perf_counter() > self._not_before and time.thread_time() > self._deadline

    def lift_deadline(self) -> None:
        """What is still asked after compilation is little, and must not fail."""
        self._deadline = math.inf

    def certainly_empty(self, values: Values, depth: int = LOOKAHEAD) -> bool:
        """Whether no value is in the set, as far as ``depth`` levels of nesting show."""
        return (
            is_empty(values.scalars)
            and all(self._array_empty(shape, depth) for shape in values.arrays)
            and all(self._object_empty(shape, depth) for shape in values.objects)
        )

    def _compute(self, formula: Formula, tracking: bool) -> Values:
        if isinstance(formula, Subschema):
            return self._schema(formula, tracking)
        if isinstance(formula, AllOf):
            return self._all(formula.parts, tracking)
        if isinstance(formula, AnyOf):
            return self._any([self.values(part, tracking) for part in formula.parts], tracking)
        return self._without(ANY, self.values(formula.part))

    def _all(self, parts: tuple[Formula, ...], tracking: bool) -> Values:
        """The intersection, from the longest beginning of the parts that is known."""
        all_known = self._tracked if tracking else self._known
        result, start = ANY, 0
        for length in range(len(parts) - 1, 1, -1):
            known = all_known.get(AllOf(parts[:length]))
            if known is not None:
                result, start = known, length
                break
        for index in range(start, len(parts)):
            result = self._both(result, self.values(parts[index], tracking))
            if 1 < index + 1 < len(parts):
                all_known[AllOf(parts[: index + 1])] = result
        return result

    def _schema(self, schema: Subschema, tracking: bool) -> Values:
        if isinstance(schema.value, bool):
            return ANY if schema.value else NONE
        present = schema.value.keys()
        tracking |= "unevaluatedItems" in present or "unevaluatedProperties" in present
        try:
            result = self._reader.values(schema)
            if present.isdisjoint(COMBINING_KEYWORDS):
                return result
            for part in self._combined(schema, tracking):
                result = self._both(result, part)
            return self._unevaluated(schema, result)
        except UnsupportedGrammarError as error:
            if error.pointer is not None:
                raise
            raise UnsupportedGrammarError(error.message, pointer=schema.pointer) from error

    def _combined(self, schema: Subschema, tracking: bool) -> Iterator[Values]:
        """One set for each keyword that brings in other schemas."""
        assert isinstance(schema.value, dict)
        present, document = schema.value.keys(), self._document
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in present:
                yield self.values(document.reference(schema, keyword), tracking)
        for branch in document.branches(schema, "allOf"):
            yield self.values(branch, tracking)
        if "anyOf" in present:
            branches = document.branches(schema, "anyOf")
            yield self._any([self.values(branch, tracking) for branch in branches], tracking)
        if "oneOf" in present:
            branches = document.branches(schema, "oneOf")
            yield self._one_of([self.values(branch, tracking) for branch in branches])
        if "not" in present:
            yield self._without(ANY, self._child_values(schema, "not"))
        if "if" in present:
            yield self._conditional(schema, tracking)
        if "propertyNames" in present:
            names = intersect(self._child_values(schema, "propertyNames").scalars, STRING)
            yield ANY._replace(objects=(ObjectShape(keys=names),))
        for keyword in ("dependentSchemas", "dependencies"):
            for name, dependent in document.formulas(schema, keyword):
                yield self._where_present(name, self.values(dependent, tracking))

    def _child_values(self, schema: Subschema, keyword: str, tracking: bool = False) -> Values:
        return self.values(self._document.formula(schema, keyword), tracking)

    def _any(self, branches: list[Values], tracking: bool) -> Values:
        result = NONE
        for branch in branches:
            result = result | branch
        if not tracking:
            return result
        if len(branches) > MAX_TRACKED_BRANCHES:
            raise UnsupportedGrammarError(
                f"anyOf of more than {MAX_TRACKED_BRANCHES} branches beside unevaluated keywords",
                keyword="anyOf",
            )
        for size in range(2, len(branches) + 1):
            for together in combinations(branches, size):
                joint = together[0]
                for branch in together[1:]:
                    joint = self._both(joint, branch)
                result = result | joint
        return result

    def _one_of(self, branches: list[Values]) -> Values:
        """Each branch without those others that it may overlap."""
        result = NONE
        for index, branch in enumerate(branches):
            alone = branch
            for other_index, other in enumerate(branches):
                if other_index != index and not self.certainly_empty(branch & other):
                    alone = self._without(alone, other)
            result = result | alone
        return result

    def _conditional(self, schema: Subschema, tracking: bool) -> Values:
        condition = self._child_values(schema, "if", tracking)
        holds, fails = condition, self._without(ANY, self._child_values(schema, "if"))
        assert isinstance(schema.value, dict)
        if "then" in schema.value:
            holds = self._both(holds, self._child_values(schema, "then", tracking))
        if "else" in schema.value:
            fails = self._both(fails, self._child_values(schema, "else", tracking))
        return holds | fails

    def _where_present(self, name: str, values: Values) -> Values:
        """Objects with the property are in ``values``; all else is free."""
        absent = ObjectShape((PropertyGroup(((name, FALSE),), evaluates=False),))
        first = PropertyGroup(((name, TRUE),), evaluates=False)  # before what depends on it
        present = NONE._replace(objects=(ObjectShape((first,), required=(name,)),))
        return ANY._replace(objects=(absent,)) | self._both(present, values)

    def _both(self, first: Values, second: Values) -> Values:
        if first is ANY or second is ANY:
            return second if first is ANY else first
        return self._pruned(first & second)

    def _without(self, values: Values, other: Values) -> Values:
        """Set difference, one negated shape at a time so that impossible cases vanish early."""
        result = values & ~other._replace(arrays=(), objects=())
        for array in other.arrays:
            cases = ANY._replace(arrays=tuple(array.negations()))
            result = self._pruned(result & cases)
        for shape in other.objects:
            cases = ANY._replace(objects=tuple(shape.negations()))
            result = self._pruned(result & cases)
        return result

    def _pruned(self, values: Values) -> Values:
        """Without the shapes that nothing fits, where there are several."""
        arrays, objects = values.arrays, values.objects
        if len(arrays) > 1:
            arrays = tuple(shape for shape in arrays if not self._array_empty(shape, 1))
        if len(objects) > 1:
            objects = tuple(shape for shape in objects if not self._object_empty(shape, 1))
        return Values(values.scalars, arrays, objects)

    def _unevaluated(self, schema: Subschema, values: Values) -> Values:
        assert isinstance(schema.value, dict)
        arrays, objects = values.arrays, values.objects
        if "unevaluatedItems" in schema.value:
            formula = self._document.formula(schema, "unevaluatedItems")
            arrays = tuple(_with_unevaluated_items(shape, formula) for shape in arrays)
        if "unevaluatedProperties" in schema.value:
            formula = self._document.formula(schema, "unevaluatedProperties")
            objects = tuple(_with_unevaluated_properties(shape, formula) for shape in objects)
        return Values(values.scalars, arrays, objects)

    def _array_empty(self, shape: ArrayShape, depth: int) -> bool:
        if shape.max_items is not None and shape.max_items < shape.min_items:
            return True
        longest = max((len(group.prefix) for group in shape.groups), default=0) + 1
        return any(
            self._formula_empty(formula_of_item(shape.groups, index), depth)
            for index in range(min(shape.min_items, longest))
        )

    def _object_empty(self, shape: ObjectShape, depth: int) -> bool:
        most = shape.max_properties
        if most is not None and most < max(shape.min_properties, len(shape.required)):
            return True
        if not shape.required:
            return False
        rules = PropertyRules(shape.groups)
        for name in shape.required:
            key = quoted_text(name)
            if shape.keys is not STRING and not matches(shape.keys, key):
                return True
            matched = frozenset(pattern for pattern in rules.patterns if matches(pattern, key))
            if self._formula_empty(rules.formula(name, matched), depth):
                return True
        return False

    def _formula_empty(self, formula: Formula, depth: int) -> bool:
        if formula is FALSE or depth == 0:
            return formula is FALSE
        try:
            return self.certainly_empty(self.values(formula), depth - 1)
        except ReferenceLoopError:  # asked about from within itself: nothing certain
            return False


def _with_unevaluated_properties(shape: ObjectShape, formula: Formula) -> ObjectShape:
    evaluating = [group for group in shape.groups if group.evaluates]
    if any(group.covers_rest for group in evaluating):
        return shape
    rest = PropertyGroup(
        tuple((name, TRUE) for group in evaluating for name, _ in group.named),
        tuple((pattern, TRUE) for group in evaluating for pattern, _ in group.patterns),
        formula,
        covers_rest=True,
    )
    return shape._replace(groups=(*shape.groups, rest))


def _with_unevaluated_items(shape: ArrayShape, formula: Formula) -> ArrayShape:
    evaluating = [group for group in shape.groups if group.evaluates]
    if any(group.covers_rest for group in evaluating):
        return shape
    evaluated = max((len(group.prefix) for group in evaluating), default=0)
    contained = [some.formula for some in shape.some if some.evaluates]
    prefix = (TRUE,) * evaluated
    rest = ItemGroup(prefix, any_of([*contained, formula]), covers_rest=True)
    return shape._replace(groups=(*shape.groups, rest))
