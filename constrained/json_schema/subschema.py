"""One schema of a document, by identity."""

from __future__ import annotations

from typing import Any


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
