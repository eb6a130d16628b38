"""Sets of JSON values in normal form: scalars as one language, arrays and objects as shapes.

A shape is a conjunction of constraints on one array or object; a set of values holds any number
of them. Intersection, union and complement stay within this form, so every boolean keyword of
JSON Schema reduces to it. Formulas inside shapes are not looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, TypeVar

from ..errors import UnsupportedGrammarError
from ..regex_tree import (
    NOTHING,
    Literal,
    Node,
    Words,
    alternate,
    complement,
    intersect,
    literal,
    one_of,
)
from .formula import FALSE, TRUE, Formula, all_of, negation
from .number_language import DECIMAL, NUMBER
from .string_language import STRING, exactly

T = TypeVar("T")
MAX_SHAPES = 64
NULL = literal("null")
TRUE_TEXT, FALSE_TEXT = literal("true"), literal("false")
BOOLEAN = alternate(TRUE_TEXT, FALSE_TEXT)
SCALAR = alternate(NULL, BOOLEAN, NUMBER, STRING)
CLOSED_SCALAR = alternate(NULL, BOOLEAN, DECIMAL, STRING)  # what complements are taken in


@dataclass(slots=True, frozen=True, eq=False)
class PropertyGroup:
    """One schema object's rules for the values of properties; equal only to itself.

    Args:
        named: formula by name.
        patterns: formula by language of quoted keys.
        additional: formula of the keys that neither names nor matches.
        covers_rest: ``additional`` was written down, so it counts as evaluating those keys.
        evaluates: the group counts for ``unevaluatedProperties``; a negation's does not.
    """

    named: tuple[tuple[str, Formula], ...] = ()
    patterns: tuple[tuple[Node, Formula], ...] = ()
    additional: Formula = TRUE
    covers_rest: bool = False
    evaluates: bool = True


@dataclass(slots=True, frozen=True)
class SomeProperty:
    """At least one key (of the quoted language) has a value that satisfies the formula."""

    keys: Node
    formula: Formula


class ObjectShape(NamedTuple):
    """Objects that satisfy all of these.

    Args:
        groups: rules for values, all of which hold for each property.
        required: names that must occur.
        keys: language of every quoted key.
        min_properties, max_properties: bounds on the number of properties.
        dependent: (name, names) the second must occur where the first does.
        some: properties that must exist.
    """

    groups: tuple[PropertyGroup, ...] = ()
    required: tuple[str, ...] = ()
    keys: Node = STRING
    min_properties: int = 0
    max_properties: int | None = None
    dependent: tuple[tuple[str, tuple[str, ...]], ...] = ()
    some: tuple[SomeProperty, ...] = ()

    def __hash__(self) -> int:
        return hash((self.groups, self.required))  # which tell most apart

    def __and__(self, other: ObjectShape) -> ObjectShape:
        return ObjectShape(
            _merged(self.groups, other.groups),
            _merged(self.required, other.required),
            self.keys if self.keys is other.keys else intersect(self.keys, other.keys),
            max(self.min_properties, other.min_properties),
            _least(self.max_properties, other.max_properties),
            _merged(self.dependent, other.dependent),
            _merged(self.some, other.some),
        )

    def negations(self) -> Iterator[ObjectShape]:
        """Shapes whose union is every object that is not of this shape."""
        for group in self.groups:
            yield from _group_negations(group)
        for name in self.required:
            yield ObjectShape((_only(name, FALSE),))
        if self.keys is not STRING:
            yield ObjectShape(some=(SomeProperty(_keys_but(self.keys), TRUE),))
        if self.min_properties > 0:
            yield ObjectShape(max_properties=self.min_properties - 1)
        if self.max_properties is not None:
            yield ObjectShape(min_properties=self.max_properties + 1)
        for name, needed in self.dependent:
            for other in needed:
                yield ObjectShape((_only(other, FALSE),), required=(name,))
        for some in self.some:
            yield ObjectShape(
                (PropertyGroup(patterns=((some.keys, negation(some.formula)),), evaluates=False),)
            )


@dataclass(slots=True, frozen=True, eq=False)
class ItemGroup:
    """One schema object's rules for items: by position, then for the rest; equal only to itself.

    ``covers_rest`` and ``evaluates`` are as in ``PropertyGroup``.
    """

    prefix: tuple[Formula, ...] = ()
    rest: Formula = TRUE
    covers_rest: bool = False
    evaluates: bool = True


@dataclass(slots=True, frozen=True)
class SomeItems:
    """Of the items from ``start`` on, ``minimum`` to ``maximum`` satisfy the formula."""

    formula: Formula
    start: int = 0
    minimum: int = 1
    maximum: int | None = None
    evaluates: bool = True


class ArrayShape(NamedTuple):
    """Arrays that satisfy all of these.

    ``unique_at``: where the schema demands that items differ; None where it does not.
    """

    groups: tuple[ItemGroup, ...] = ()
    min_items: int = 0
    max_items: int | None = None
    some: tuple[SomeItems, ...] = ()
    unique_at: str | None = None

    def __hash__(self) -> int:
        return hash((self.groups, self.min_items))  # which tell most apart

    def __and__(self, other: ArrayShape) -> ArrayShape:
        return ArrayShape(
            _merged(self.groups, other.groups),
            max(self.min_items, other.min_items),
            _least(self.max_items, other.max_items),
            _merged(self.some, other.some),
            other.unique_at if self.unique_at is None else self.unique_at,
        )

    def negations(self) -> Iterator[ArrayShape]:
        """Shapes whose union is every array that is not of this shape."""
        for group in self.groups:
            for index, formula in enumerate(group.prefix):
                if formula is not TRUE:
                    prefix = (*(TRUE for _ in range(index)), negation(formula))
                    yield ArrayShape((ItemGroup(prefix, evaluates=False),), min_items=index + 1)
            if group.rest is not TRUE:
                yield ArrayShape(
                    some=(SomeItems(negation(group.rest), len(group.prefix), evaluates=False),)
                )
        if self.min_items > 0:
            yield ArrayShape(max_items=self.min_items - 1)
        if self.max_items is not None:
            yield ArrayShape(min_items=self.max_items + 1)
        for some in self.some:
            if some.minimum > 0:
                yield ArrayShape(
                    some=(replace(some, minimum=0, maximum=some.minimum - 1, evaluates=False),)
                )
            if some.maximum is not None:
                yield ArrayShape(
                    some=(replace(some, minimum=some.maximum + 1, maximum=None, evaluates=False),)
                )
        if self.unique_at is not None:
            raise UnsupportedGrammarError(
                "the negation of uniqueItems is not supported",
                keyword="uniqueItems",
                pointer=self.unique_at,
            )


class Values(NamedTuple):
    """A set of JSON values: the scalars of a language, and arrays and objects of any shape."""

    scalars: Node = NOTHING
    arrays: tuple[ArrayShape, ...] = ()
    objects: tuple[ObjectShape, ...] = ()

    def __and__(self, other: Values) -> Values:
        if self is ANY or other is ANY:
            return other if self is ANY else self
        return Values(
            _both_scalars(self.scalars, other.scalars),
            bounded(a & b for a, b in product(self.arrays, other.arrays)),
            bounded(a & b for a, b in product(self.objects, other.objects)),
        )

    def __or__(self, other: Values) -> Values:
        return Values(
            alternate(self.scalars, other.scalars),
            bounded((*self.arrays, *other.arrays)),
            bounded((*self.objects, *other.objects)),
        )

    def __invert__(self) -> Values:
        result = Values(
            intersect(CLOSED_SCALAR, complement(self.scalars)), (ArrayShape(),), (ObjectShape(),)
        )
        for array in self.arrays:
            result = result & Values(SCALAR, tuple(array.negations()), ANY.objects)
        for shape in self.objects:
            result = result & Values(SCALAR, ANY.arrays, tuple(shape.negations()))
        return result


ANY = Values(SCALAR, (ArrayShape(),), (ObjectShape(),))
NONE = Values()


class PropertyRules:
    """The rules of several groups together, for many names."""

    def __init__(self, groups: tuple[PropertyGroup, ...]) -> None:
        self._groups = [(group, dict(group.named)) for group in groups]
        self.patterns = tuple(
            dict.fromkeys(pattern for group in groups for pattern, _ in group.patterns)
        )

    def formula(self, name: str | None, matched: frozenset[Node]) -> Formula:
        """What the value of a property must satisfy.

        Args:
            name: the key, or None for one that no group names.
            matched: the patterns that the key matches.
        """
        if len(self._groups) == 1 and not matched:
            group, named = self._groups[0]
            return named.get(name, group.additional) if name is not None else group.additional
        parts: list[Formula] = []
        for group, named in self._groups:
            found = [named[name]] if name in named else []
            found += [formula for pattern, formula in group.patterns if pattern in matched]
            parts += found or [group.additional]
        return all_of(parts)


def formula_of_item(groups: Iterable[ItemGroup], index: int) -> Formula:
    """What the item at ``index`` must satisfy."""
    return all_of(
        group.prefix[index] if index < len(group.prefix) else group.rest for group in groups
    )


def _group_negations(group: PropertyGroup) -> Iterator[ObjectShape]:
    for name, formula in group.named:
        if formula is not TRUE:
            yield ObjectShape((_only(name, negation(formula)),), required=(name,))
    for pattern, formula in group.patterns:
        if formula is not TRUE:
            yield ObjectShape(some=(SomeProperty(pattern, negation(formula)),))
    if group.additional is not TRUE:
        claimed = alternate(
            *(exactly(name) for name, _ in group.named),
            *(pattern for pattern, _ in group.patterns),
        )
        yield ObjectShape(some=(SomeProperty(_keys_but(claimed), negation(group.additional)),))


def _only(name: str, formula: Formula) -> PropertyGroup:
    return PropertyGroup(((name, formula),), evaluates=False)


def _keys_but(keys: Node) -> Node:
    return intersect(STRING, complement(keys))


def _both_scalars(first: Node, second: Node) -> Node:
    """The intersection; every language of scalars is within ``SCALAR``, quoted ones in STRING."""
    if first is SCALAR or second is SCALAR:
        return second if first is SCALAR else first
    if first is STRING or second is STRING:
        other = second if first is STRING else first
        if isinstance(other, Literal | Words):
            texts = other.texts if isinstance(other, Words) else (other.text,)
            return one_of(text for text in texts if text.startswith(b'"'))
    return intersect(first, second)


def _merged(first: tuple[T, ...], second: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second))) if first and second else first or second


def _least(first: int | None, second: int | None) -> int | None:
    return min((bound for bound in (first, second) if bound is not None), default=None)


def bounded(shapes: Iterable[T]) -> tuple[T, ...]:
    """The shapes, each once.

    Raises:
        UnsupportedGrammarError: they are too many to follow.
    """
    kept = tuple(shapes)
    if len(kept) > 1:
        kept = tuple(dict.fromkeys(kept))
    if len(kept) > MAX_SHAPES:
        raise UnsupportedGrammarError(
            f"the combination of alternatives needs more than {MAX_SHAPES} cases"
        )
    return kept
