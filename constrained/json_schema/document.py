"""A schema document: the formulas of its places, and what ``$ref`` points to within it.

A place is looked at when it is asked for. Nothing is ever fetched: a reference that leaves the
document is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urldefrag

from ..errors import GrammarError, UnsupportedGrammarError
from .document_names import (
    ROOT_URI,
    DocumentNames,
    PlaceKind,
    base_uri_of,
    escaped,
    joined,
    kind_within,
)
from .formula import Formula, at, plain
from .keyword_sets import BEYOND_TYPE, NAMING_KEYWORDS
from .subschema import Subschema

BESIDE_REFERENCE = (BEYOND_TYPE | {"type"}) - {"$ref"}
MAX_REFERENCES = 16  # that lead on to each other


class Document:
    """The subschemas of one schema document.

    Args:
        root: the parsed JSON of the schema, no part of which stands in two places.

    Attributes:
        root: the formula of the whole.

    Raises (as do the methods):
        GrammarError: a place that must hold a schema holds something else.
        UnsupportedGrammarError: a keyword needs what a single document cannot tell.
    """

    def __init__(self, root: dict[str, Any] | bool) -> None:
        self._root_value = root
        self._root_uri = base_uri_of(root, ROOT_URI) if isinstance(root, dict) else ROOT_URI
        self._subschemas: dict[int, Subschema] = {}  # by identity of the value
        self._referenced: dict[tuple[str, str], Subschema | None] = {}
        self.root = at(self._subschema(root, "", ROOT_URI))

    def formula(self, schema: Subschema, keyword: str, step: str | int | None = None) -> Formula:
        """What the subschema in a keyword of ``schema``, or at one name or index in it, demands.

        Where that says nothing but ``$ref``, it is the formula of what the reference points to.
        """
        assert isinstance(schema.value, dict)
        value = schema.value[keyword]
        if step is not None:
            value = value[step]
        known = plain(value)
        if known is not None:
            return known
        found = self._subschemas.get(id(value))
        if found is None:
            path = keyword if step is None else f"{keyword}/{escaped(step)}"
            found = self._subschema(value, f"{schema.pointer}/{path}", schema.base_uri)
        return self._followed(found)

    def formulas(self, schema: Subschema, keyword: str) -> Iterator[tuple[str, Formula]]:
        """The subschemas in a keyword that holds an object of them (and lists), by name."""
        assert isinstance(schema.value, dict)
        named = schema.value.get(keyword, {})
        if not isinstance(named, dict):
            raise _wrong(keyword, "must be an object of schemas", schema.pointer)
        for name, value in named.items():
            if keyword != "dependencies" or not isinstance(value, list):
                yield name, plain(value) or self.formula(schema, keyword, name)

    def branches(self, schema: Subschema, keyword: str) -> list[Formula]:
        """The subschemas in a keyword that holds a list of them."""
        assert isinstance(schema.value, dict)
        listed = schema.value.get(keyword, [])
        if not isinstance(listed, list):
            raise _wrong(keyword, "must be a list of schemas", schema.pointer)
        return [self.formula(schema, keyword, index) for index in range(len(listed))]

    def reference(self, schema: Subschema, keyword: str) -> Formula:
        """What the ``$ref`` or ``$dynamicRef`` of ``schema`` points to."""
        reference = schema.keyword(keyword)
        if not isinstance(reference, str):
            raise _wrong(keyword, "must be a string", schema.pointer)
        target = self._resolve(schema.base_uri, reference)
        if target is None:
            raise UnsupportedGrammarError(
                f"{keyword} {reference!r} points to nothing in this schema; other documents are "
                "not fetched",
                keyword=keyword,
                pointer=schema.pointer,
            )
        if keyword == "$dynamicRef":
            self._check_static(schema, reference, target)
        return at(target)

    @cached_property
    def _names(self) -> DocumentNames:
        return DocumentNames(self._root_value)

    def _followed(self, schema: Subschema) -> Formula:
        if schema.keyword("$ref") is None:
            return schema
        for _ in range(MAX_REFERENCES):
            value = schema.value
            if isinstance(value, bool) or "$ref" not in value:
                break
            if not value.keys().isdisjoint(BESIDE_REFERENCE) or not isinstance(value["$ref"], str):
                break
            target = self._resolve(schema.base_uri, value["$ref"])
            if target is None:  # an error, and told as one when its values are asked for
                break
            schema = target
        return at(schema)

    def _resolve(self, base_uri: str, reference: str) -> Subschema | None:
        place = (base_uri, reference)
        target = self._referenced.get(place)
        if target is None:
            target = self._referenced[place] = self._looked_up(base_uri, reference)
        return target

    def _looked_up(self, base_uri: str, reference: str) -> Subschema | None:
        if reference.startswith("#"):
            uri, fragment = base_uri, reference[1:]
        else:
            uri, fragment = urldefrag(joined(base_uri, reference))
        if fragment and not fragment.startswith("/"):
            pointer = self._names.anchors.get(f"{uri}#{unquote(fragment)}")
        elif uri in (ROOT_URI, self._root_uri):
            pointer = unquote(fragment)
        else:
            start = self._names.resources.get(uri)
            pointer = None if start is None else start + unquote(fragment)
        return None if pointer is None else self._locate(pointer)

    def _check_static(self, schema: Subschema, reference: str, target: Subschema) -> None:
        """Refuses a ``$dynamicRef`` whose target depends on the path by which it was reached."""
        anchor = urldefrag(reference).fragment
        if target.keyword("$dynamicAnchor") == anchor and self._names.dynamic_anchors[anchor] > 1:
            raise UnsupportedGrammarError(
                f"$dynamicRef {reference!r} has more than one possible target",
                keyword="$dynamicRef",
                pointer=schema.pointer,
            )

    def _subschema(self, value: Any, pointer: str, outer_uri: str) -> Subschema:
        """The schema at a place."""
        known = self._subschemas.get(id(value))
        if known is not None:
            return known
        if isinstance(value, bool):
            return Subschema(value, pointer, outer_uri)
        if not isinstance(value, dict):
            raise GrammarError("a schema must be an object or a boolean", pointer=pointer)
        if "$recursiveRef" in value:
            raise UnsupportedGrammarError(
                "$recursiveRef is not supported", keyword="$recursiveRef", pointer=pointer
            )
        named = not value.keys().isdisjoint(NAMING_KEYWORDS)
        base_uri = base_uri_of(value, outer_uri) if named else outer_uri
        schema = self._subschemas[id(value)] = Subschema(value, pointer, base_uri)
        return schema

    def _locate(self, pointer: str) -> Subschema | None:
        """The schema at a pointer, also below keywords that hold no schemas by themselves."""
        value: Any = self._root_value
        kind: PlaceKind = "schema"
        base_uri, path = ROOT_URI, ""
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and name in value:
                base_uri = base_uri_of(value, base_uri) if kind == "schema" else base_uri
                value, kind = value[name], kind_within(kind, name, value[name])
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value, kind = value[int(name)], "schema" if kind == "list" else "other"
            else:
                return None
            path += f"/{escaped(name)}"
        if not isinstance(value, dict | bool):
            return None
        if kind != "schema":
            self._names.add(value, path, base_uri)
        return self._subschema(value, path, base_uri)


def _wrong(keyword: str, message: str, pointer: str) -> GrammarError:
    return GrammarError(f"{keyword} {message}", keyword=keyword, pointer=pointer)
