"""A schema document: its subschemas by place, and what ``$ref`` points to within it.

Knows the keywords that hold schemas (of 2020-12, 2019-09 and draft 4 to 7), not what they mean.
Nothing is ever fetched: a reference that leaves the document is refused.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from ..errors import GrammarError, UnsupportedGrammarError
from .keyword_sets import BEYOND_TYPE

SCHEMA_KEYWORDS = frozenset(
    "additionalProperties additionalItems contains contentSchema else if items not propertyNames "
    "then unevaluatedItems unevaluatedProperties".split()
)
SCHEMA_LIST_KEYWORDS = frozenset("allOf anyOf items oneOf prefixItems".split())
SCHEMA_MAP_KEYWORDS = frozenset(
    "$defs definitions dependencies dependentSchemas patternProperties properties".split()
)
NAMING_KEYWORDS = frozenset(("$id", "id", "$anchor", "$dynamicAnchor"))
BESIDE_REFERENCE = (BEYOND_TYPE | {"type"}) - {"$ref"}
MAX_REFERENCES = 16  # that lead on to each other
ROOT_URI = "https://schema.invalid/"  # base of documents without $id; never fetched, never shown


class Subschema:
    """The schema at one place of the document; identity is equality.

    Args:
        value: its JSON, an object or a boolean.
        pointer: JSON pointer from the root of the document.
        base_uri: what relative references in it are resolved against.
    """

    __slots__ = ("base_uri", "pointer", "value")

    def __init__(self, value: Any, pointer: str, base_uri: str) -> None:
        self.value: dict[str, Any] | bool = value
        self.pointer = pointer
        self.base_uri = base_uri

    def keyword(self, name: str) -> Any:
        return self.value.get(name) if isinstance(self.value, dict) else None


class Document:
    """The subschemas of one schema document.

    Args:
        root: the parsed JSON of the schema.

    Raises:
        GrammarError: a place that must hold a schema holds something else.
        UnsupportedGrammarError: a keyword needs what a single document cannot tell.
    """

    def __init__(self, root: dict[str, Any] | bool) -> None:
        self._root_value = root
        self._subschemas: dict[str, Subschema] = {}
        self._resources: dict[str, str] = {ROOT_URI: ""}  # URI -> pointer
        self._anchors: dict[str, str] = {}  # URI with fragment -> pointer
        self._referenced: dict[tuple[str, str], Subschema | None] = {}
        self._dynamic_anchors: Counter[str] = Counter()
        self.root = self._register_tree(root, "", ROOT_URI)

    def child(self, schema: Subschema, keyword: str, step: str | int | None = None) -> Subschema:
        """The subschema in a keyword of ``schema``, or at one name or index in it.

        Where that says nothing but ``$ref``, it is what the reference points to.
        """
        path = f"/{keyword}" if step is None else f"/{keyword}/{_escape(step)}"
        found = self._subschemas[schema.pointer + path]
        for _ in range(MAX_REFERENCES):
            value = found.value
            if isinstance(value, bool) or "$ref" not in value:
                break
            if not value.keys().isdisjoint(BESIDE_REFERENCE) or not isinstance(value["$ref"], str):
                break
            target = self._resolve(found.base_uri, value["$ref"])
            if target is None:  # an error, and told as one when its values are asked for
                break
            found = target
        return found

    def reference(self, schema: Subschema, keyword: str) -> Subschema:
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
        return target

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
            uri, fragment = urldefrag(_join(base_uri, reference))
        if fragment and not fragment.startswith("/"):
            pointer = self._anchors.get(f"{uri}#{unquote(fragment)}")
        else:
            start = self._resources.get(uri)
            pointer = None if start is None else start + unquote(fragment)
        return None if pointer is None else self._locate(pointer)

    def _check_static(self, schema: Subschema, reference: str, target: Subschema) -> None:
        """Refuses a ``$dynamicRef`` whose target depends on the path by which it was reached."""
        anchor = urldefrag(reference).fragment
        if target.keyword("$dynamicAnchor") == anchor and self._dynamic_anchors[anchor] > 1:
            raise UnsupportedGrammarError(
                f"$dynamicRef {reference!r} has more than one possible target",
                keyword="$dynamicRef",
                pointer=schema.pointer,
            )

    def _register_tree(self, value: Any, pointer: str, base_uri: str) -> Subschema:
        """Registers a schema and every subschema that a keyword in it holds."""
        first = self._register(value, pointer, base_uri)
        pending = [first]
        while pending:
            schema = pending.pop()
            pending.extend(
                self._register(child, schema.pointer + path, schema.base_uri)
                for path, child in _children(schema)
            )
        return first

    def _register(self, value: Any, pointer: str, base_uri: str) -> Subschema:
        if not isinstance(value, dict | bool):
            raise GrammarError("a schema must be an object or a boolean", pointer=pointer)
        if isinstance(value, dict):
            if not value.keys().isdisjoint(NAMING_KEYWORDS):
                base_uri = self._register_names(value, pointer, base_uri)
            if "$recursiveRef" in value:
                raise UnsupportedGrammarError(
                    "$recursiveRef is not supported", keyword="$recursiveRef", pointer=pointer
                )
        schema = self._subschemas[pointer] = Subschema(value, pointer, base_uri)
        return schema

    def _register_names(self, value: dict[str, Any], pointer: str, base_uri: str) -> str:
        identifier = value.get("$id", value.get("id"))
        if isinstance(identifier, str):
            uri, fragment = urldefrag(_join(base_uri, identifier))
            if fragment:  # draft 4 to 7: an anchor
                self._anchors[f"{uri}#{fragment}"] = pointer
            else:
                base_uri = uri
                self._resources[uri] = pointer
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = value.get(keyword)
            if isinstance(anchor, str):
                self._anchors[f"{base_uri}#{anchor}"] = pointer
                self._dynamic_anchors[anchor] += keyword == "$dynamicAnchor"
        return base_uri

    def _locate(self, pointer: str) -> Subschema | None:
        """The schema at a pointer, also below keywords that hold no schemas by themselves."""
        known = self._subschemas.get(pointer)
        if known is not None:
            return known
        value: Any = self._root_value
        base_uri, path = ROOT_URI, ""
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                return None
            path += f"/{step}"
            base_uri = self._subschemas[path].base_uri if path in self._subschemas else base_uri
        if path in self._subschemas:
            return self._subschemas[path]
        if not isinstance(value, dict | bool):
            return None
        return self._register_tree(value, path, base_uri)


def _children(schema: Subschema) -> list[tuple[str, Any]]:
    """Path (a piece of JSON pointer) and value of each schema that a keyword holds."""
    if isinstance(schema.value, bool):
        return []
    found: list[tuple[str, Any]] = []
    for keyword, value in schema.value.items():
        if keyword in SCHEMA_LIST_KEYWORDS and isinstance(value, list):
            found += [(f"/{keyword}/{index}", item) for index, item in enumerate(value)]
        elif keyword in SCHEMA_LIST_KEYWORDS and keyword != "items":
            raise _wrong(keyword, "must be a list of schemas", schema.pointer)
        elif keyword in SCHEMA_MAP_KEYWORDS:
            if not isinstance(value, dict):
                raise _wrong(keyword, "must be an object of schemas", schema.pointer)
            found += [
                (f"/{keyword}/{_escape(name)}", item)
                for name, item in value.items()
                if not (keyword == "dependencies" and isinstance(item, list))
            ]
        elif keyword in SCHEMA_KEYWORDS:
            found.append((f"/{keyword}", value))
    return found


def _join(base_uri: str, reference: str) -> str:
    """``urljoin`` that also knows fragments of URIs without hierarchy, such as URNs."""
    return base_uri + reference if reference.startswith("#") else urljoin(base_uri, reference)


def _escape(step: str | int) -> str:
    text = str(step)
    return text.replace("~", "~0").replace("/", "~1") if "/" in text or "~" in text else text


def _wrong(keyword: str, message: str, pointer: str) -> GrammarError:
    return GrammarError(f"{keyword} {message}", keyword=keyword, pointer=pointer)
