"""What ``$id`` and the anchors of a document name, found by a walk over all its schemas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urldefrag, urljoin

from .keyword_sets import (
    NAMING_KEYWORDS,
    SCHEMA_KEYWORDS,
    SCHEMA_LIST_KEYWORDS,
    SCHEMA_MAP_KEYWORDS,
)

ROOT_URI = "https://schema.invalid/"  # base of documents without $id; never fetched, never shown

# What is at a place: a schema, a list or an object of schemas, or something else.
PlaceKind = Literal["schema", "list", "map", "other"]


def kind_within(kind: PlaceKind, name: str, value: Any) -> PlaceKind:
    """The kind of a member of an object that is itself of ``kind``."""
    if kind == "map":
        return "schema"
    if kind != "schema":
        return "other"
    if name in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
        return "list"
    if name in SCHEMA_MAP_KEYWORDS:
        return "map"
    return "schema" if name in SCHEMA_KEYWORDS else "other"


def joined(base_uri: str, reference: str) -> str:
    """``urljoin`` that also knows fragments of URIs without hierarchy, such as URNs."""
    return base_uri + reference if reference.startswith("#") else urljoin(base_uri, reference)


def escaped(step: str | int) -> str:
    """One step of a JSON pointer."""
    text = str(step)
    return text.replace("~", "~0").replace("/", "~1") if "/" in text or "~" in text else text


def base_uri_of(value: dict[str, Any], base_uri: str) -> str:
    """What references in a schema are resolved against: its ``$id``, or what holds around it."""
    identifier = value.get("$id", value.get("id"))
    if not isinstance(identifier, str):
        return base_uri
    uri, fragment = urldefrag(joined(base_uri, identifier))
    return base_uri if fragment else uri  # draft 4 to 7: a fragment is an anchor


class DocumentNames:
    """The names in a document.

    Attributes:
        resources: pointer by URI.
        anchors: pointer by URI with fragment.
        dynamic_anchors: how often each is defined.

    Args:
        root: the document.
    """

    def __init__(self, root: Any) -> None:
        self.resources: dict[str, str] = {ROOT_URI: ""}
        self.anchors: dict[str, str] = {}
        self.dynamic_anchors: Counter[str] = Counter()
        self.add(root, "", ROOT_URI)

    def add(self, value: Any, pointer: str, base_uri: str) -> None:
        """Notes the names of the schema at a place, and of all schemas in it."""
        pending = [(value, pointer, base_uri)]
        while pending:
            value, pointer, base_uri = pending.pop()
            if not isinstance(value, dict):
                continue
            if not value.keys().isdisjoint(NAMING_KEYWORDS):
                base_uri = self._note(value, pointer, base_uri)
            pending.extend((child, pointer + path, base_uri) for path, child in _children(value))

    def _note(self, value: dict[str, Any], pointer: str, outer_uri: str) -> str:
        base_uri = base_uri_of(value, outer_uri)
        identifier = value.get("$id", value.get("id"))
        if isinstance(identifier, str):
            uri, fragment = urldefrag(joined(outer_uri, identifier))
            if fragment:
                self.anchors[f"{uri}#{fragment}"] = pointer
            else:
                self.resources[uri] = pointer
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = value.get(keyword)
            if isinstance(anchor, str):
                self.anchors[f"{base_uri}#{anchor}"] = pointer
                self.dynamic_anchors[anchor] += keyword == "$dynamicAnchor"
        return base_uri


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Path (a piece of JSON pointer) and value of each schema that a keyword holds."""
    for keyword, value in schema.items():
        kind = kind_within("schema", keyword, value)
        if kind == "schema":
            yield f"/{keyword}", value
        elif kind == "list":
            yield from ((f"/{keyword}/{index}", item) for index, item in enumerate(value))
        elif kind == "map" and isinstance(value, dict):
            yield from ((f"/{keyword}/{escaped(name)}", item) for name, item in value.items())
