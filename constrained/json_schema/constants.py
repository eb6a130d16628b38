"""``const`` and ``enum``: the values that are equal to one of some JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ..errors import UnsupportedGrammarError
from ..regex_tree import alternate, one_of
from .formula import FALSE
from .number_language import MAX_DIGITS, equal_to
from .shapes import (
    FALSE_TEXT,
    NULL,
    TRUE_TEXT,
    ArrayShape,
    ItemGroup,
    ObjectShape,
    PropertyGroup,
    Values,
    bounded,
)
from .string_language import exactly, quoted_text
from .subschema import Subschema


def equal_to_one(constants: Sequence[Any], types: frozenset[str], schema: Subschema) -> Values:
    """The values equal to one of the constants that are of some types, in all their spellings.

    Args:
        constants: parsed JSON.
        types: names of JSON types.
        schema: where the constants stand.

    Raises:
        UnsupportedGrammarError: a number has too many digits.
    """
    fitting = [constant for constant in constants if _is_of(constant, types)]
    if len(fitting) == 1:
        return _equal_to(fitting[0], schema)
    texts = [quoted_text(constant) for constant in fitting if isinstance(constant, str)]
    others = [_equal_to(constant, schema) for constant in fitting if not isinstance(constant, str)]
    return Values(
        alternate(one_of(texts), *(other.scalars for other in others)),
        bounded(array for other in others for array in other.arrays),
        bounded(shape for other in others for shape in other.objects),
    )


def bounded_number(schema: Subschema, keyword: str, value: Decimal) -> Decimal:
    """A number that languages can be made of.

    Raises:
        UnsupportedGrammarError: it has too many digits.
    """
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


def _is_of(value: Any, types: frozenset[str]) -> bool:
    if isinstance(value, str):
        return "string" in types
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, int | Decimal):
        whole = isinstance(value, int) or value == value.to_integral_value()
        return "number" in types or (whole and "integer" in types)
    if value is None:
        return "null" in types
    return ("array" if isinstance(value, list) else "object") in types


def _equal_to(value: Any, schema: Subschema) -> Values:
    if value is None:
        return Values(NULL)
    if isinstance(value, bool):
        return Values(TRUE_TEXT if value else FALSE_TEXT)
    if isinstance(value, int | Decimal):
        return Values(equal_to(bounded_number(schema, "const or enum", Decimal(value))))
    if isinstance(value, str):
        return Values(exactly(value))
    if isinstance(value, list):
        items = tuple(_constant_schema(item, schema) for item in value)
        group = ItemGroup(items, FALSE, covers_rest=True, evaluates=False)
        return Values(arrays=(ArrayShape((group,), len(items), len(items)),))
    named = tuple((name, _constant_schema(item, schema)) for name, item in value.items())
    rules = PropertyGroup(named, additional=FALSE, covers_rest=True, evaluates=False)
    return Values(objects=(ObjectShape((rules,), tuple(value)),))


def _constant_schema(value: Any, schema: Subschema) -> Subschema:
    return Subschema({"const": value}, schema.pointer, schema.base_uri)
