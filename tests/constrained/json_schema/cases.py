"""Schemas over all keywords, each with texts it admits and texts it does not."""

from __future__ import annotations

from typing import Any

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["x", "y", "z"]}, "uniqueItems": True},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
}

# (schema, admitted texts, refused texts)
CASES: list[tuple[Any, list[str], list[str]]] = [
    (
        PERSON,
        ['{"name": "Bo", "age": 3}', '{"name": "é日", "age": 150, "tags": ["x", "z"]}'],
        ['{"name": "", "age": 3}', '{"name": "Bo", "age": 151}', '{"name": "B", "age": 1, "q": 1}'],
    ),
    (
        TREE,
        ['{"value": 1, "children": [{"value": -2}, {"value": 0, "children": []}]}'],
        ['{"value": 1, "children": [{}]}', '{"value": 1, "children": [{"value": 1}, 2]}'],
    ),
    ({"const": {"a": [1, None]}}, ['{"a": [1, null]}'], ['{"a": [1]}', "{}", '{"a": [1, 0]}']),
    ({"enum": [1, "1", True]}, ["1", '"1"', "true"], ["2", "false", "1.0"]),
    ({"type": "integer"}, ["0", "-7", "123"], ["1.5", "-0", "01", "1e3"]),
    ({"type": "number"}, ["0.50", "-1e+10", "3"], ["+1", ".5", "1."]),
    ({"type": "number", "minimum": -1.5}, ["-1.5", "-1.49", "0", "99"], ["-1.51", "-2", "-10"]),
    ({"type": "number", "exclusiveMaximum": 10}, ["9.99", "-100"], ["10", "10.0", "10.1", "11"]),
    ({"type": "number", "multipleOf": 0.01}, ["1.25", "7", "0.10"], ["0.005", "1.255"]),
    ({"type": "integer", "multipleOf": 7}, ["0", "-14", "700"], ["1", "-15", "701"]),
    ({"type": "string", "pattern": '^a"\\\\$'}, ['"a\\"\\\\"'], ['"a"', '"a\\"']),
    ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"a"', "1"]),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2023-02-29"', '"2024-13-01"']),
    ({"type": "string", "format": "ipv6"}, ['"::1"', '"fe80::a:1.2.3.4"'], ['":::"', '"1::2::3"']),
    ({"type": "string", "format": "color"}, ['"anything"'], ["1"]),
    ({"type": "string", "maxLength": 2}, ['"é日"', '"\\n\\t"'], ['"abc"']),
    (
        {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "boolean"}},
        ["[]", "[null]", "[null, true]"],
        ["[true]", "[null, 1]"],
    ),
    (
        {"type": "array", "minItems": 2, "maxItems": 3},
        ["[1, 2]", "[[], {}, 3]"],
        ["[1]", "[1, 2, 3, 4]"],
    ),
    (
        {
            "type": "array",
            "contains": {"const": 5},
            "minContains": 2,
            "items": {"enum": [1, 5]},
        },
        ["[5, 5]", "[1, 5, 1, 5, 1]"],
        ["[]", "[5]", "[5, 1]"],
    ),
    (
        {"type": "array", "contains": {"type": "integer"}, "maxContains": 1},
        ["[1]", '["a", 1]'],
        ["[]", "[1, 2]", '["a"]'],
    ),
    ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, ["[1, 2]"], ["[1, 1]"]),
    (
        {"type": "object", "patternProperties": {"^i": {"type": "integer"}, "x$": {"maximum": 3}}},
        ['{"i": 9, "x": 1}', '{"ix": 3, "q": "z"}', '{"x": "s"}'],
        ['{"i": "s"}', '{"ix": 4}', '{"x": 4}'],
    ),
    ({"type": "object", "propertyNames": {"maxLength": 2}}, ['{"ab": 1}'], ['{"abc": 1}']),
    (
        {"type": "object", "minProperties": 2, "maxProperties": 2},
        ['{"a": 1, "b": 2}'],
        ["{}", '{"a": 1}', '{"a": 1, "a": 1}', '{"a": 1, "b": 1, "c": 1}'],
    ),
    (
        {"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}},
        ["{}", '{"b": 1}', '{"a": 1, "b": 1}'],
        ['{"a": 1}'],
    ),
    (
        {"type": "object", "dependentSchemas": {"a": {"properties": {"b": {"const": 1}}}}},
        ['{"b": 2}', '{"a": 1, "b": 1}'],
        ['{"a": 1, "b": 2}'],
    ),
    ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, ["null", "4"], ['"a"']),
    (
        {"oneOf": [{"type": "integer"}, {"minimum": 2}]},
        ["1", "2.5", '"a"'],
        ["3", "1.5"],
    ),
    (
        {
            "type": "object",
            "oneOf": [
                {
                    "properties": {"kind": {"const": "a"}, "n": {"type": "integer"}},
                    "required": ["kind"],
                },
                {
                    "properties": {"kind": {"const": "b"}, "s": {"type": "string"}},
                    "required": ["kind"],
                },
            ],
        },
        ['{"kind": "a", "n": 1}', '{"kind": "b", "s": "x"}'],
        ['{"kind": "a", "n": "x"}', '{"kind": "c"}'],
    ),
    ({"not": {"type": "string"}}, ["1", "[]", "{}"], ['"a"']),
    ({"not": {"required": ["a"]}}, ["{}", '{"b": 1}'], ["3", '{"a": 1}', '{"b": 1, "a": 2}']),
    ({"not": {"properties": {"a": {"type": "string"}}}}, ['{"a": 1}'], ["{}", '{"a": "s"}', "1"]),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "boolean"}, "b": {"type": "integer"}},
            "if": {"properties": {"a": {"const": True}}, "required": ["a"]},
            "then": {"required": ["b"]},
            "else": {"properties": {"b": False}},
        },
        ['{"a": true, "b": 1}', '{"a": false}', "{}"],
        ['{"a": true}', '{"a": false, "b": 1}', '{"b": 1}'],
    ),
    (
        {
            "type": "object",
            "anyOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["c"]}],
            "unevaluatedProperties": False,
        },
        ["{}", '{"a": 1}'],
        ['{"b": 1}', '{"c": 1}'],
    ),
    (
        {"prefixItems": [{"const": 1}], "unevaluatedItems": {"type": "string"}, "type": "array"},
        ["[1]", '[1, "a"]'],
        ["[1, 2]", "[2]"],
    ),
    (
        {"allOf": [{"properties": {"a": {"minimum": 2}}}, {"properties": {"a": {"maximum": 3}}}]},
        ['{"a": 2}', '{"a": 3}', "7"],
        ['{"a": 1}', '{"a": 4}'],
    ),
    (
        {"items": [{"type": "integer"}], "additionalItems": False},
        ["[]", "[1]"],
        ["[1, 2]", '["a"]'],
    ),
    ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, ["4"], ["3"]),
]
