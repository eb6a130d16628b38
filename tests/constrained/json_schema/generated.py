"""Generated schemas (what hypothesis-jsonschema knows: draft-07), and their instances as text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "ab", 'q"', "é")
PATTERNS = ("^[a-z]{2,4}$", "b", "^x", "[0-9]$", "^(ab|cd)+$", "^[^a]{3}$", "a.*b")
FORMATS = ("date", "time", "date-time", "ipv4", "ipv6", "email", "hostname", "uri", "json-pointer")
BOUNDS = st.integers(-30, 30) | st.sampled_from([0.5, -2.25, 1000, 1e6])
SCALARS = st.none() | st.booleans() | st.integers(-20, 200) | st.sampled_from([0.5, "a", "", "é\n"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=3,
)

Schemas = st.SearchStrategy[Any]


def _some(required: dict[str, Any], /, **optional: Any) -> Schemas:
    return st.fixed_dictionaries(required, optional=optional)


def _ordered(low: str, high: str, schema: dict[str, Any]) -> dict[str, Any]:
    if low in schema and high in schema and schema[low] > schema[high]:
        schema[low], schema[high] = schema[high], schema[low]
    return schema


def _scalars(values: st.SearchStrategy[Any] = VALUES) -> Schemas:
    number = {"type": st.sampled_from(["integer", "number"])}
    length = st.integers(0, 6)
    return st.one_of(
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {}]),
        st.builds(lambda value: {"const": value}, values),
        st.builds(lambda listed: {"enum": listed}, st.lists(values, min_size=1, max_size=3)),
        _some(number, minimum=BOUNDS, maximum=BOUNDS).map(
            lambda schema: _ordered("minimum", "maximum", schema)
        ),
        _some(number, exclusiveMinimum=BOUNDS, multipleOf=st.sampled_from([1, 3, 0.5, 7])),
        _some({"type": st.just("string")}, minLength=length, maxLength=length).map(
            lambda schema: _ordered("minLength", "maxLength", schema)
        ),
        _some({"type": st.just("string")}, pattern=st.sampled_from(PATTERNS), minLength=length),
        _some({"type": st.just("string"), "format": st.sampled_from(FORMATS)}),
    )


def _arrays(inner: Schemas, merged: Schemas) -> Schemas:
    return st.one_of(
        _some(
            {"type": st.just("array"), "items": inner},
            minItems=st.integers(0, 2),
            maxItems=st.integers(2, 4),
        ),
        _some(
            {"type": st.just("array"), "items": st.lists(inner, min_size=1, max_size=2)},
            additionalItems=inner | st.booleans(),
            minItems=st.integers(0, 2),
        ),
        _some(
            {"type": st.just("array"), "contains": merged},
            items=st.sampled_from([{"type": "integer"}, {}]),
            maxItems=st.integers(1, 4),
        ),
        _some(
            {"type": st.just("array"), "uniqueItems": st.just(True)},
            items=st.just({"enum": ["a", "b", 1, 2, True, None]}),
            minItems=st.integers(0, 3),
        ),
    )


def _objects(inner: Schemas, merged: Schemas) -> Schemas:
    properties = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    names = st.lists(st.sampled_from(NAMES), unique=True, max_size=2)
    closed = {"type": st.just("object"), "properties": properties}
    return st.one_of(
        _some(closed, required=names, additionalProperties=merged | st.booleans()),
        _some(
            closed,
            patternProperties=st.dictionaries(st.sampled_from(["^a", "b$", "^x"]), merged),
            minProperties=st.integers(0, 2),
            maxProperties=st.integers(2, 4),
        ),
        _some(
            closed,
            propertyNames=st.sampled_from([{"maxLength": 2}, {"pattern": "^[a-c]"}]),
            dependencies=st.dictionaries(st.sampled_from(NAMES), names, max_size=2),
        ),
    )


def combined(inner: Schemas) -> Schemas:
    """Some of ``inner`` under one keyword that combines schemas."""
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        some.map(lambda schemas: {"anyOf": schemas}),
        some.map(lambda schemas: {"oneOf": schemas}),
        some.map(lambda schemas: {"allOf": schemas}),
        st.builds(lambda schema: {"not": schema}, inner),
        _some({"if": inner, "then": inner}, **{"else": inner}),
    )


def schemas() -> Schemas:
    """Any keyword anywhere."""
    return st.recursive(
        _scalars(),
        lambda inner: st.one_of(_arrays(inner, inner), _objects(inner, inner), combined(inner)),
        max_leaves=5,
    )


def ordered_schemas() -> Schemas:
    """Those where a value's properties are declared in one place; see ``in_order``."""
    merged = _scalars(SCALARS)
    return st.recursive(
        _scalars(),
        lambda inner: st.one_of(_arrays(inner, merged), _objects(inner, merged)),
        max_leaves=6,
    )


def in_order(value: Any, schema: Any) -> Any:
    """An instance of one of ``ordered_schemas``, its properties in the order of declaration."""
    if not isinstance(schema, dict):
        return value
    for listed in schema.get("enum", [schema.get("const")]):
        if spelled(listed, sort_keys=True) == spelled(value, sort_keys=True):
            return listed
    if isinstance(value, list):
        items = schema.get("items")
        rest = schema.get("additionalItems") if isinstance(items, list) else items
        each = [*items, *(rest for _ in value)] if isinstance(items, list) else [rest] * len(value)
        return [in_order(item, of) for item, of in zip(value, each, strict=False)]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    dependent = schema.get("dependencies", {}).items()
    names = [*properties, *schema.get("required", ())]
    names += [name for trigger, needed in dependent for name in (trigger, *needed)]
    keys = [name for name in dict.fromkeys(names) if name in value]
    keys += [name for name in value if name not in names]
    return {key: in_order(value[key], properties.get(key)) for key in keys}


def spelled(value: Any, sort_keys: bool = False) -> str:
    """JSON with numbers in plain digits, and zero without a sign."""
    if isinstance(value, dict):
        keys = sorted(value) if sort_keys else value
        pairs = (f"{spelled(key)}: {spelled(value[key], sort_keys)}" for key in keys)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(spelled(item, sort_keys) for item in value) + "]"
    if isinstance(value, float | Decimal):
        return format(Decimal(str(value)) or Decimal(), "f")
    return json.dumps(value, ensure_ascii=False)
