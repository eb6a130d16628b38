"""The assertions of one schema object about the value itself: types, bounds, items, properties.

Keywords that combine whole schemas (``allOf``, ``not``, ``if`` ...) are the normaliser's.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ..errors import GrammarError, UnsupportedGrammarError
from ..json_options import JsonOptions
from ..regex_tree import Node, alternate, intersect
from .document import Document
from .formats import format_pattern
from .formula import FALSE, TRUE
from .keyword_sets import (
    ARRAY_KEYWORDS,
    NUMBER_KEYWORDS,
    OBJECT_KEYWORDS,
    STRING_KEYWORDS,
    TYPES,
)
from .number_language import (
    INTEGER,
    MAX_DIGITS,
    NUMBER,
    at_least,
    at_most,
    equal_to,
    multiple_of,
)
from .shapes import (
    ANY,
    BOOLEAN,
    FALSE_TEXT,
    NULL,
    SCALAR,
    TRUE_TEXT,
    ArrayShape,
    ItemGroup,
    ObjectShape,
    PropertyGroup,
    SomeItems,
    Values,
    bounded,
)
from .string_language import STRING, exactly, matching, of_length
from .subschema import Subschema

MAX_LENGTH = 1_000_000
ONE_TYPE = {name: frozenset((name,)) for name in TYPES}
PLAIN_TYPES = {"null": NULL, "boolean": BOOLEAN}
EVERY_SCALAR = [NULL, BOOLEAN, NUMBER, STRING]


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
        if "const" in present or "enum" in present:
            return result & self._constants(schema)
        return result

    def _scalars(self, schema: Subschema, types: frozenset[str]) -> Node:
        assert isinstance(schema.value, dict)
        present = schema.value.keys()
        scalars = [language for name, language in PLAIN_TYPES.items() if name in types]
        if "number" in types or "integer" in types:
            numbers = NUMBER if "number" in types else INTEGER
            if not present.isdisjoint(NUMBER_KEYWORDS):
                numbers = intersect(numbers, *self._numbers(schema))
            scalars.append(numbers)
        if "string" in types:
            strings = STRING
            if not present.isdisjoint(STRING_KEYWORDS):
                strings = intersect(*(self._strings(schema) or (STRING,)))
            scalars.append(strings)
        if len(scalars) == 1:
            return scalars[0]
        return SCALAR if scalars == EVERY_SCALAR else alternate(*scalars)

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

    def _constants(self, schema: Subschema) -> Values:
        value = schema.value
        assert isinstance(value, dict)
        result = ANY
        if "const" in value:
            result = _constant(value["const"], schema)
        if "enum" in value:
            if not isinstance(value["enum"], list):
                raise _wrong(schema, "enum", "must be a list")
            result = result & _union([_constant(constant, schema) for constant in value["enum"]])
        return result

    def _numbers(self, schema: Subschema) -> list[Node]:
        parts: list[Node] = []
        readers: dict[str, Callable[[Decimal], Node]] = {
            "minimum": lambda bound: at_least(
                bound, strict=schema.keyword("exclusiveMinimum") is True
            ),
            "maximum": lambda bound: at_most(
                bound, strict=schema.keyword("exclusiveMaximum") is True
            ),
            "exclusiveMinimum": lambda bound: at_least(bound, strict=True),
            "exclusiveMaximum": lambda bound: at_most(bound, strict=True),
            "multipleOf": lambda divisor: _multiples(schema, divisor),
        }
        for keyword, read in readers.items():
            value = schema.keyword(keyword)
            if value is not None and not isinstance(value, bool):
                parts.append(read(_number(schema, keyword)))
        return parts

    def _strings(self, schema: Subschema) -> list[Node]:
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
        pattern = schema.keyword("pattern")
        if pattern is not None:
            parts.append(matching(_text(schema, "pattern", pattern), schema.pointer))
        name = schema.keyword("format")
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
        prefix_keyword, rest_keyword = ("prefixItems", "items")
        if isinstance(schema.value.get("items"), list):
            prefix_keyword, rest_keyword = ("items", "additionalItems")
        has_rest = rest_keyword in schema.value
        prefix = tuple(self._document.branches(schema, prefix_keyword))
        if not prefix and not has_rest:
            return ()
        rest = self._document.formula(schema, rest_keyword) if has_rest else TRUE
        return (ItemGroup(prefix, rest, covers_rest=has_rest),)

    def _object(self, schema: Subschema) -> ObjectShape:
        required = schema.keyword("required")
        names = [] if isinstance(required, bool | None) else _names(schema, "required", required)
        return ObjectShape(
            self._property_groups(schema),
            tuple(dict.fromkeys(names)),
            min_properties=_count(schema, "minProperties") or 0,
            max_properties=_count(schema, "maxProperties"),
            dependent=_dependent(schema),
        )

    def _property_groups(self, schema: Subschema) -> tuple[PropertyGroup, ...]:
        assert isinstance(schema.value, dict)
        named = tuple(self._document.formulas(schema, "properties"))
        patterns = tuple(
            (matching(pattern, f"{schema.pointer}/patternProperties"), formula)
            for pattern, formula in self._document.formulas(schema, "patternProperties")
        )
        has_rest = "additionalProperties" in schema.value
        if not named and not patterns and not has_rest:
            return ()
        rest = self._document.formula(schema, "additionalProperties") if has_rest else TRUE
        return (PropertyGroup(named, patterns, rest, covers_rest=has_rest),)


def _constant(value: Any, schema: Subschema) -> Values:
    """The one JSON value, in all its spellings."""
    if value is None:
        return Values(NULL)
    if isinstance(value, bool):
        return Values(TRUE_TEXT if value else FALSE_TEXT)
    if isinstance(value, int | Decimal):
        return Values(equal_to(_bounded_number(schema, "const or enum", Decimal(value))))
    if isinstance(value, str):
        return Values(exactly(value))
    if isinstance(value, list):
        items = tuple(_equals(item, schema) for item in value)
        group = ItemGroup(items, FALSE, covers_rest=True, evaluates=False)
        return Values(arrays=(ArrayShape((group,), len(items), len(items)),))
    named = tuple((name, _equals(item, schema)) for name, item in value.items())
    rules = PropertyGroup(named, additional=FALSE, covers_rest=True, evaluates=False)
    return Values(objects=(ObjectShape((rules,), tuple(value)),))


def _union(options: list[Values]) -> Values:
    return Values(
        alternate(*(option.scalars for option in options)),
        bounded(array for option in options for array in option.arrays),
        bounded(shape for option in options for shape in option.objects),
    )


def _equals(value: Any, schema: Subschema) -> Subschema:
    return Subschema({"const": value}, schema.pointer, schema.base_uri)


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
    return _bounded_number(schema, keyword, Decimal(value))


def _bounded_number(schema: Subschema, keyword: str, value: Decimal) -> Decimal:
    if (
        value
        and not -MAX_DIGITS < value.adjusted() < MAX_DIGITS
        or len(value.as_tuple().digits) > MAX_DIGITS
    ):
        raise UnsupportedGrammarError(
            f"{keyword} has a number of more than {MAX_DIGITS} digits",
            keyword=keyword,
            pointer=schema.pointer,
        )
    return value


def _count(schema: Subschema, keyword: str) -> int | None:
    value = schema.keyword(keyword)
    if value is None:
        return None
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(_bounded_number(schema, keyword, value))
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
