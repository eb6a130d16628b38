"""Relaxed schemas: what remains is never narrower than the original, and says what is missing."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from sglang_lang.constrained.errors import GrammarError, UnsupportedGrammarError
from sglang_lang.constrained.relaxation import relax

INSTANCES: list[Any] = [
    *(None, True, 0, 1, 1.5, "", "a", "ab", [], [1], [1, 1], ["a", "b"], {}, {"a": 1}),
    *({"a": "a"}, {"b": 1}, {"a": 1, "b": 2}, {"a": [1, 1]}, {"a": {"a": 1}}, [[1], [1]]),
]
CASES: list[tuple[dict[str, Any], str, str | None]] = [
    ({"properties": {"a": {"type": "string", "minLength": 2}}}, "/properties/a", "minLength"),
    ({"properties": {"a": True}, "additionalProperties": False}, "", "properties"),
    ({"not": {"properties": {"a": {"type": "integer"}}}}, "/not/properties/a", "type"),
    ({"oneOf": [{"type": "integer"}, {"minimum": 1}]}, "/oneOf/1", "minimum"),
    ({"if": {"type": "array"}, "then": {"maxItems": 1}}, "/if", "type"),
    ({"contains": {"minimum": 1}, "maxContains": 1}, "/contains", "minimum"),
    ({"not": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "array"}}}, "/$defs/x", "type"),
    ({"prefixItems": [{"type": "array"}], "items": {"maxItems": 0}}, "", "prefixItems"),
    (
        {"allOf": [{"properties": {"a": {"maximum": 0}}}], "unevaluatedProperties": False},
        "/allOf/0",
        "properties",
    ),
    ({"anyOf": [{"type": "string"}, {"maxItems": 1}]}, "/anyOf/1", None),
    ({"enum": [1]}, "", None),
    ({"properties": {"not": {"type": "array"}}}, "/properties/not", "type"),
    ({"patternProperties": {"/~a": {"type": "array"}}}, "/patternProperties/~1~0a", "type"),
]


@pytest.mark.parametrize(("schema", "pointer", "keyword"), CASES)
def test_what_remains_allows_all_that_was_allowed(
    schema: dict[str, Any], pointer: str, keyword: str | None
) -> None:
    def refuse_once(less: Any) -> Any:
        if less is schema:
            raise UnsupportedGrammarError("too hard", keyword=keyword, pointer=pointer)
        return less

    before = repr(schema)
    relaxed, warnings = relax(schema, refuse_once)
    assert repr(schema) == before and relaxed != schema
    assert len(warnings) == 1 and "not enforced" in warnings[0]
    validator = jsonschema.Draft202012Validator(schema)
    weaker = jsonschema.Draft202012Validator(relaxed)
    for instance in INSTANCES:
        assert weaker.is_valid(instance) or not validator.is_valid(instance), instance


def test_only_the_keyword_at_fault_goes() -> None:
    schema = {"properties": {"not": {"type": "array", "uniqueItems": True}}}

    def refuse(less: Any) -> Any:
        if "uniqueItems" in repr(less):
            raise UnsupportedGrammarError("no", keyword="uniqueItems", pointer="/properties/not")
        return less

    relaxed, _ = relax(schema, refuse)
    assert relaxed == {"properties": {"not": {"type": "array"}}}


def test_an_error_or_a_refusal_without_a_place_is_raised() -> None:
    def wrong(_: Any) -> Any:
        raise GrammarError("wrong", pointer="/a")

    def nowhere(_: Any) -> Any:
        raise UnsupportedGrammarError("too large")

    for compile_schema in (wrong, nowhere):
        with pytest.raises(GrammarError):
            relax({}, compile_schema)


def test_a_schema_of_which_too_much_is_refused_is_refused() -> None:
    schema = {"properties": {f"p{i}": {"pattern": "x"} for i in range(100)}}

    def refuse(less: Any) -> Any:
        for name, part in less["properties"].items():
            if "pattern" in part:
                pointer = f"/properties/{name}"
                raise UnsupportedGrammarError("no", keyword="pattern", pointer=pointer)
        raise AssertionError("all were left out")

    with pytest.raises(UnsupportedGrammarError, match="/properties/p64"):
        relax(schema, refuse)
