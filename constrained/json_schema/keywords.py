"""The assertions of one schema object about the value itself: types, bounds, items, properties.

Keywords that combine whole schemas (``allOf``, ``not``, ``if`` ...) are the normaliser's.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

from ..errors import GrammarError, UnsupportedGrammarError
from ..json_options import JsonOptions
from ..regex_tree import Node, alternate, intersect
from .constants import bounded_number, equal_to_one
from .document import Document
from .formats import format_pattern
from .formula import TRUE, Formula
from .keyword_sets import (
    ARRAY_KEYWORDS,
    NUMBER_KEYWORDS,
    OBJECT_KEYWORDS,
    STRING_KEYWORDS,
    TYPES,
    VALUE_KEYWORDS,
)
from .number_language import (
    INTEGER,
    NUMBER,
    at_least,
    at_most,
    multiple_of,
)
from .shapes import (
    ANY,
    BOOLEAN,
    NULL,
    ArrayShape,
    ItemGroup,
    ObjectShape,
    PropertyGroup,
    SomeItems,
    Values,
)
from .string_language import STRING, matching, of_length
from .subschema import Subschema

MAX_LENGTH = 1_000_000
COUNTING_KEYWORDS = OBJECT_KEYWORDS - {
    "required",
    "properties",
    "patternProperties",
    "additionalProperties",
}
LIMITS: tuple[tuple[str, str, Callable[..., Node]], ...] = (
    ("minimum", "exclusiveMinimum", at_least),
    ("maximum", "exclusiveMaximum", at_most),
)
ONE_TYPE = {name: frozenset((name,)) for name in TYPES}


@cache
def of_types(types: frozenset[str]) -> Values:
    """The values of some types."""
    if types == TYPES:
        return ANY
    return Values(
        scalars_of(types),
        ANY.arrays if "array" in types else (),
        ANY.objects if "object" in types else (),
    )


def scalars_of(
    types: frozenset[str], numbers: Node | None = None, strings: Node | None = None
) -> Node:
    """The scalars of some types; where given, only these numbers and strings."""
    scalars = []
    if "null" in types:
        scalars.append(NULL)
    if "boolean" in types:
        scalars.append(BOOLEAN)
    if "number" in types or "integer" in types:
        scalars.append(numbers or (NUMBER if "number" in types else INTEGER))
    if "string" in types:
        scalars.append(strings or STRING)
    return scalars[0] if len(scalars) == 1 else alternate(*scalars)


class KeywordReader:
    """Reads the assertion keywords of schema objects.

    Args:
        document: where the subschemas are.
        options: what to do with formats.
    """

    def __init__(self, document: Document, options: JsonOptions) -> None:
        self._document = document
        self._options = options

    def values(self, schema: Subschema) -> Values:
        """The values that satisfy the assertions of a schema object.

        Raises:
            GrammarError: a keyword has a value it cannot have.
            UnsupportedGrammarError: a keyword that cannot be enforced.
        """
        assert isinstance(schema.value, dict)
        types, present = self._types(schema), schema.value.keys()
        is_constant = "const" in present or "enum" in present
        if present.isdisjoint(VALUE_KEYWORDS):
            return self._constants(schema, types) if is_constant else of_types(types)
        arrays, objects = ANY.arrays, ANY.objects
        if not present.isdisjoint(ARRAY_KEYWORDS):
            arrays = (self._array(schema),)
        if not present.isdisjoint(OBJECT_KEYWORDS):
            objects = (self._object(schema),)
        result = Values(
            self._scalars(schema, types),
            arrays if "array" in types else (),
            objects if "object" in types else (),
        )
        return result & self._constants(schema, types) if is_constant else result

    def _scalars(self, schema: Subschema, types: frozenset[str]) -> Node:
        assert isinstance(schema.value, dict)
        present = schema.value.keys()
        numbers = strings = None
        if not present.isdisjoint(NUMBER_KEYWORDS) and ("number" in types or "integer" in types):
            numbers = intersect(NUMBER if "number" in types else INTEGER, *self._numbers(schema))
        if not present.isdisjoint(STRING_KEYWORDS) and "string" in types:
            strings = intersect(*(self._strings(schema) or (STRING,)))
        if numbers is None and strings is None:
            return of_types(types).scalars
        return scalars_of(types, numbers, strings)

    def _types(self, schema: Subschema) -> frozenset[str]:
        names = schema.keyword("type")
        if names is None:
            return TYPES
        if isinstance(names, str) and names in ONE_TYPE:
            return ONE_TYPE[names]
        found = names if isinstance(names, list) else [names]
        for name in found:
            if name not in TYPES:
                raise _wrong(schema, "type", f"names no JSON type: {name!r}")
        return frozenset(found)

    def _constants(self, schema: Subschema, types: frozenset[str]) -> Values:
        value = schema.value
        assert isinstance(value, dict)
        result = ANY
        if "const" in value:
            result = equal_to_one((value["const"],), types, schema)
        if "enum" in value:
            if not isinstance(value["enum"], list):
                raise _wrong(schema, "enum", "must be a list")
            result = result & equal_to_one(value["enum"], types, schema)
        return result

    def _numbers(self, schema: Subschema) -> list[Node]:
        assert isinstance(schema.value, dict)
        parts: list[Node] = []
        for keyword, exclusive, limit in LIMITS:
            strict = schema.value.get(exclusive)  # a bound of its own, in draft 4 a boolean
            if schema.value.get(keyword) is not None:
                parts.append(limit(_number(schema, keyword), strict=strict is True))
            if strict is not None and not isinstance(strict, bool):
                parts.append(limit(_number(schema, exclusive), strict=True))
        if schema.keyword("multipleOf") is not None:
            parts.append(_multiples(schema, _number(schema, "multipleOf")))
        return parts

    def _strings(self, schema: Subschema) -> list[Node]:
        assert isinstance(schema.value, dict)
        parts: list[Node] = []
        minimum, maximum = _count(schema, "minLength") or 0, _count(schema, "maxLength")
        if minimum > MAX_LENGTH:
            raise UnsupportedGrammarError(
                f"minLength {minimum} is above {MAX_LENGTH}",
                keyword="minLength",
                pointer=schema.pointer,
            )
        if maximum is not None:
            maximum = min(maximum, MAX_LENGTH)  # no text is longer
        if minimum or maximum is not None:
            parts.append(of_length(minimum, maximum))
        pattern = schema.value.get("pattern")
        if pattern is not None:
            parts.append(matching(_text(schema, "pattern", pattern), schema.pointer))
        name = schema.value.get("format")
        if isinstance(name, str) and self._options.assert_formats:
            known = format_pattern(name)
            if known is not None:
                parts.append(matching(known, schema.pointer))
        return parts

    def _array(self, schema: Subschema) -> ArrayShape:
        assert isinstance(schema.value, dict)
        present = schema.value.keys()
        some: tuple[SomeItems, ...] = ()
        if "contains" in present:
            minimum = _count(schema, "minContains")
            some = (
                SomeItems(
                    self._document.formula(schema, "contains"),
                    minimum=1 if minimum is None else minimum,
                    maximum=_count(schema, "maxContains"),
                ),
            )
        return ArrayShape(
            self._item_groups(schema),
            _count(schema, "minItems") or 0,
            _count(schema, "maxItems"),
            some,
            schema.pointer if schema.keyword("uniqueItems") is True else None,
        )

    def _item_groups(self, schema: Subschema) -> tuple[ItemGroup, ...]:
        """``prefixItems`` and ``items``; in older drafts ``items`` and ``additionalItems``."""
        assert isinstance(schema.value, dict)
        value, document = schema.value, self._document
        prefix_keyword, rest_keyword = ("prefixItems", "items")
        if isinstance(value.get("items"), list):
            prefix_keyword, rest_keyword = ("items", "additionalItems")
        has_rest = rest_keyword in value
        prefix: tuple[Formula, ...] = ()
        if prefix_keyword in value:
            prefix = tuple(document.branches(schema, prefix_keyword))
        if not prefix and not has_rest:
            return ()
        rest = document.formula(schema, rest_keyword) if has_rest else TRUE
        return (ItemGroup(prefix, rest, covers_rest=has_rest),)

    def _object(self, schema: Subschema) -> ObjectShape:
        assert isinstance(schema.value, dict)
        present = schema.value.keys()
        required = schema.value.get("required")
        names = [] if isinstance(required, bool | None) else _names(schema, "required", required)
        shape = ObjectShape(self._property_groups(schema), tuple(dict.fromkeys(names)))
        if present.isdisjoint(COUNTING_KEYWORDS):
            return shape
        return shape._replace(
            min_properties=_count(schema, "minProperties") or 0,
            max_properties=_count(schema, "maxProperties"),
            dependent=_dependent(schema),
        )

    def _property_groups(self, schema: Subschema) -> tuple[PropertyGroup, ...]:
        assert isinstance(schema.value, dict)
        named = tuple(self._document.formulas(schema, "properties"))
        patterns: tuple[tuple[Node, Formula], ...] = ()
        if "patternProperties" in schema.value:
            pointer = f"{schema.pointer}/patternProperties"
            patterns = tuple(
                (matching(pattern, pointer), formula)
                for pattern, formula in self._document.formulas(schema, "patternProperties")
            )
        has_rest = "additionalProperties" in schema.value
        if not named and not patterns and not has_rest:
            return ()
        rest = self._document.formula(schema, "additionalProperties") if has_rest else TRUE
        return (PropertyGroup(named, patterns, rest, covers_rest=has_rest),)


def _dependent(schema: Subschema) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    for keyword in ("dependentRequired", "dependencies"):
        rules = schema.keyword(keyword) or {}
        if not isinstance(rules, dict):
            raise _wrong(schema, keyword, "must be an object")
        for name, needed in rules.items():
            if isinstance(needed, list):
                found.append((name, tuple(_names(schema, keyword, needed))))
            elif keyword == "dependentRequired":
                raise _wrong(schema, keyword, "must hold lists of names")
    return tuple(found)


def _multiples(schema: Subschema, divisor: Decimal) -> Node:
    if divisor <= 0:
        raise _wrong(schema, "multipleOf", f"must be positive, got {divisor}")
    multiples = multiple_of(divisor)
    if multiples is None:
        raise UnsupportedGrammarError(
            f"multipleOf {divisor} needs too large an automaton",
            keyword="multipleOf",
            pointer=schema.pointer,
        )
    return multiples


def _number(schema: Subschema, keyword: str) -> Decimal:
    value = schema.keyword(keyword)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _wrong(schema, keyword, f"must be a number, got {value!r}")
    return bounded_number(schema, keyword, Decimal(value))


def _count(schema: Subschema, keyword: str) -> int | None:
    assert isinstance(schema.value, dict)
    value = schema.value.get(keyword)
    if value is None:
        return None
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(bounded_number(schema, keyword, value))
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(schema, keyword, f"must be a non-negative integer, got {value!r}")
    return value


def _names(schema: Subschema, keyword: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _wrong(schema, keyword, "must be a list of strings")
    return value


def _text(schema: Subschema, keyword: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(schema, keyword, f"must be a string, got {value!r}")
    return value


def _wrong(schema: Subschema, keyword: str, message: str) -> GrammarError:
    return GrammarError(f"{keyword} {message}", keyword=keyword, pointer=schema.pointer)
