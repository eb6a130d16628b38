"""The JSON Schema engine: keywords by example, walks that validate, llguidance as oracle."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import jsonschema
import llguidance
import numpy as np
import pytest

from sglang_lang.constrained.backend import JsonSchema
from sglang_lang.constrained.errors import GrammarError, UnsupportedGrammarError
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.llguidance_backend import LLGuidanceBackend
from tests.constrained.byte_grammar import SPEC, VOCABULARY, admits, json_machine, random_walk
from tests.constrained.json_schema.cases import CASES, PERSON, TREE

WALKS = 60  # a case, over some 38 cases


@pytest.mark.parametrize(("schema", "yes", "no"), CASES, ids=range(len(CASES)))
def test_keyword_by_example(schema: Any, yes: list[str], no: list[str]) -> None:
    machine = json_machine(schema)
    assert [text for text in yes if not admits(machine, text)] == []
    assert [text for text in no if admits(machine, text)] == []


@pytest.mark.parametrize("index", range(len(CASES)))
def test_random_walks_validate(index: int) -> None:
    schema = CASES[index][0]
    validator = _validator(schema)
    rng = np.random.default_rng(index)
    machine = json_machine(schema)
    ended = 0
    for _ in range(WALKS):
        text = random_walk(machine, rng)
        if text is not None:
            ended += 1
            errors = list(validator.iter_errors(json.loads(text, parse_float=Decimal)))
            assert not errors, f"{text!r}: {errors[0].message}"
    assert ended >= WALKS // 3


def _validator(schema: Any) -> Any:
    old = isinstance(schema.get("items"), list) or schema.get("exclusiveMinimum") is True
    kind = jsonschema.Draft4Validator if old else jsonschema.Draft202012Validator
    whole = kind.TYPE_CHECKER.redefine("integer", _is_whole)
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    formats = jsonschema.FormatChecker(["date", "ipv6"])
    extended: Any = jsonschema.validators.extend(kind, type_checker=whole)  # type: ignore[no-untyped-call]
    return extended(exact, format_checker=formats)


def _is_whole(checker: Any, value: Any) -> bool:
    """Integers as JSON Schema has them, for values that were read without rounding."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return is_number and value == int(value)


@pytest.mark.parametrize("schema", [PERSON, TREE])
def test_instances_of_a_generator_are_admitted(schema: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    root = schema.get("$defs", {}).get("node", schema)
    machine = json_machine(schema)
    for _ in range(200):
        text = json.dumps(_instance(root, root, rng, 0), ensure_ascii=False)
        assert admits(machine, text), text


def _instance(
    schema: dict[str, Any], root: dict[str, Any], rng: np.random.Generator, depth: int
) -> Any:
    """A random value of a schema built of the few keywords of PERSON and TREE."""
    if "$ref" in schema:
        return _instance(root, root, rng, depth)
    if "enum" in schema:
        return str(rng.choice(schema["enum"]))
    if schema["type"] == "integer":
        return int(rng.integers(schema.get("minimum", -1000), schema.get("maximum", 1000) + 1))
    if schema["type"] == "string":
        length = int(rng.integers(schema.get("minLength", 0), schema.get("maxLength", 9) + 1))
        return "".join(rng.choice(list('ab"\\\n\x01é日😀'), length))
    if schema["type"] == "array":
        items = [_instance(schema["items"], root, rng, depth + 1) for _ in range(rng.integers(3))]
        return list(dict.fromkeys(items)) if schema.get("uniqueItems") else items
    return {
        name: _instance(part, root, rng, depth + 1)
        for name, part in schema["properties"].items()
        if name in schema["required"] or (depth < 4 and rng.random() < 0.5)
    }


def test_llguidance_admits_what_the_walks_spell() -> None:
    backend = LLGuidanceBackend(VOCABULARY)
    compared = 0
    for index, (schema, _, _) in enumerate(CASES):
        try:
            grammar = backend.compile_json_schema(JsonSchema.of(schema), JsonOptions())
        except GrammarError:
            continue
        if "multipleOf" in schema:  # llguidance admits fewer zeros at the end of a fraction
            continue
        machine, rng = json_machine(schema), np.random.default_rng(index)
        for _ in range(10):
            text = random_walk(machine, rng)
            if text is None or b"\x7f" in text:  # which llguidance wants escaped
                continue
            matcher = grammar.matcher()
            compared += 1
            assert all(map(matcher.accept_token, text)) and matcher.is_accepting(), text
    assert compared > 50, llguidance.__version__


def test_separators_are_forced_and_keys_come_in_the_order_of_the_schema() -> None:
    machine = json_machine(PERSON, JsonOptions(item_separator=",", key_separator=":"))
    assert machine.forced(machine.start) == b'{"name":"'
    state = machine.advance(machine.start, b'{"name":"x"')
    assert machine.forced(state) == b',"age":'
    assert not admits(machine, '{"age":1,"name":"x"}')
    assert admits(json_machine(PERSON, JsonOptions(any_order=True)), '{"age": 1, "name": "x"}')


def test_whitespace_is_free_within_bounds_when_asked() -> None:
    flexible = JsonOptions().with_whitespace("flexible")
    value = {"name": "x", "age": 1, "tags": ["x", "y"]}
    for machine in (json_machine(PERSON, flexible), json_machine({"minProperties": 2}, flexible)):
        for text in (json.dumps(value, indent=4), json.dumps(value), '{ "name":"x"\t,\r"age" :1}'):
            assert admits(machine, text), text
        assert admits(machine, '{"name":"x",' + " " * 32 + '"age":1}')
        assert not admits(machine, '{"name":"x",' + " " * 33 + '"age":1}')
        assert not admits(machine, ' {"name":"x","age":1}')
    repeated = '{"a" :1 , "a": 2}'  # the key is captured without the whitespace around it
    assert not admits(json_machine({"type": "object", "minProperties": 2}, flexible), repeated)


def test_whole_numbers_may_have_a_zero_fraction_when_asked() -> None:
    assert admits(json_machine({"type": "integer"}, SPEC), "1.0")
    assert admits(json_machine({"const": 1}, SPEC), "1.00")
    assert not admits(json_machine({"type": "integer"}, SPEC), "1.5")


def test_formats_are_annotations_when_asked() -> None:
    assert admits(json_machine({"format": "date"}, SPEC), '"today"')


@pytest.mark.parametrize(
    ("schema", "keyword", "pointer"),
    [
        ({"properties": {"a": {"$ref": "other.json"}}}, "$ref", "/properties/a"),
        ({"$recursiveRef": "#"}, "$recursiveRef", ""),
        ({"items": {"multipleOf": 0.123456789}}, "multipleOf", "/items"),
        ({"properties": {"a/b": {"uniqueItems": True}}}, "uniqueItems", "/properties/a~1b"),
        ({"pattern": r"(a)\1"}, "pattern", ""),
        ({"minimum": 10**500}, "minimum", ""),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(
    schema: Any, keyword: str, pointer: str
) -> None:
    with pytest.raises(UnsupportedGrammarError) as caught:
        json_machine(schema)
    assert (caught.value.keyword, caught.value.pointer) == (keyword, pointer)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "text"},
        {"type": ["string", 3]},
        {"properties": []},
        {"properties": {"a": 1}},
        {"required": "a"},
        {"minLength": -1},
        {"minimum": "3"},
        {"multipleOf": 0},
        {"enum": {"a": 1}},
        {"anyOf": {}},
        {"pattern": "["},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"allOf": [{"type": "string"}, {"type": "number"}]},
        False,
    ],
)
def test_a_wrong_or_unsatisfiable_schema_is_an_error(schema: Any) -> None:
    with pytest.raises(GrammarError):
        json_machine(schema)


def test_a_lone_surrogate_in_a_schema_is_an_error() -> None:
    schemas: list[Any] = [
        {"const": "\ud800"},
        {"properties": {"\udfff": {}}},
        {"pattern": "\ud800"},
    ]
    for schema in schemas:
        with pytest.raises(GrammarError):
            json_machine(schema)
