"""What stands at a place of a schema document, and what its references lead to."""

from __future__ import annotations

from typing import Any

import pytest

from sglang_lang.constrained.errors import GrammarError, UnsupportedGrammarError
from sglang_lang.constrained.json_schema.document import Document
from sglang_lang.constrained.json_schema.formula import FALSE, OF_TYPE, TRUE, Formula
from sglang_lang.constrained.json_schema.subschema import Subschema


def property_of(root: dict[str, Any], name: str) -> Formula:
    document = Document(root)
    assert isinstance(document.root, Subschema)
    return document.formula(document.root, "properties", name)


def test_schemas_that_say_nothing_or_a_type_only_are_one_formula_each() -> None:
    properties = {
        "a": True,
        "b": False,
        "c": {"title": "free"},
        "d": {"type": "string", "description": "a name"},
    }
    document = Document({"properties": properties})
    assert isinstance(document.root, Subschema)
    found = dict(document.formulas(document.root, "properties"))
    assert found == {"a": TRUE, "b": FALSE, "c": TRUE, "d": OF_TYPE["string"]}


def test_a_place_is_one_schema_however_it_is_reached() -> None:
    root = {
        "properties": {"a/~b": {"minimum": 3}, "c": {"$ref": "#/properties/a~1~0b"}},
        "components": {"d": {"properties": {"e": {"$ref": "#/components/d"}}}},
    }
    first = property_of(root, "a/~b")
    assert isinstance(first, Subschema) and first.pointer == "/properties/a~1~0b"
    document = Document(root)
    assert isinstance(document.root, Subschema)
    assert document.formula(document.root, "properties", "c") is document.formula(
        document.root, "properties", "a/~b"
    )


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/x", "#named", "https://a.test/s", "s", "/s#", "https://a.test/root#named", "s#own"],
)
def test_references_find_pointers_anchors_and_identifiers(reference: str) -> None:
    target = {"$id": "s", "$anchor": "own", "maximum": 1}
    if "named" in reference:
        target = {"$anchor": "named", "maximum": 1}
    root = {
        "$id": "https://a.test/root",
        "properties": {"p": {"$ref": reference}},
        "$defs": {"x": target},
    }
    found = property_of(root, "p")
    assert isinstance(found, Subschema) and found.value is target


def test_references_are_relative_to_the_nearest_identifier() -> None:
    inner = {"$defs": {"x": {"minimum": 1}}, "properties": {"q": {"$ref": "#/$defs/x"}}}
    root = {"$defs": {"x": {"minimum": 2}}, "properties": {"p": {"$id": "inner", **inner}}}
    document = Document(root)
    assert isinstance(document.root, Subschema)
    p = document.formula(document.root, "properties", "p")
    assert isinstance(p, Subschema)
    found = document.formula(p, "properties", "q")
    assert isinstance(found, Subschema) and found.value == {"minimum": 1}


def test_what_holds_no_schema_is_refused_where_it_is_asked_for() -> None:
    document = Document({"properties": {"a": 1, "b": {"$recursiveRef": "#"}}, "allOf": {}})
    assert isinstance(document.root, Subschema)
    with pytest.raises(GrammarError, match="/properties/a"):
        document.formula(document.root, "properties", "a")
    with pytest.raises(UnsupportedGrammarError, match=r"recursiveRef.*/properties/b"):
        document.formula(document.root, "properties", "b")
    with pytest.raises(GrammarError, match="allOf must be a list"):
        document.branches(document.root, "allOf")
    other = property_of({"properties": {"p": {"$ref": "https://b.test/other"}}}, "p")
    assert isinstance(other, Subschema)
    with pytest.raises(UnsupportedGrammarError, match="points to nothing"):
        document.reference(other, "$ref")
