"""Pydantic models and dataclasses: their JSON schemas, and their instances from generated JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from .extras import needs


def schema_text(schema: Any) -> str:
    """A JSON schema as text: given as text, dict, pydantic model or dataclass."""
    if isinstance(schema, str):
        return schema
    if isinstance(schema, Mapping):
        return json.dumps(schema)
    if hasattr(schema, "model_json_schema"):
        return json.dumps(_closed(schema.model_json_schema()))
    if dataclasses.is_dataclass(schema):
        return json.dumps(_closed(_type_adapter(schema).json_schema()))
    raise TypeError(f"json_schema must be text, dict, pydantic model or dataclass, got {schema!r}")


def _closed(schema: Any) -> Any:
    """The schema without fields that its class does not have; a model would write them for ever."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if closed.get("type") == "object" and "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def parse_object(text: Any, kind: type | None) -> Any:
    """The value of a JSON text; with ``kind`` an instance of that pydantic model or dataclass."""
    if isinstance(text, list):
        return [parse_object(one, kind) for one in text]
    if kind is None:
        return json.loads(text)
    validate = getattr(kind, "model_validate_json", None)
    if validate is not None:
        return validate(text)
    if dataclasses.is_dataclass(kind):
        return _type_adapter(kind).validate_json(text)
    raise TypeError(f"kind must be a pydantic model or a dataclass, got {kind!r}")


def _type_adapter(kind: Any) -> Any:
    with needs("runtime"):  # optional: only who passes a dataclass needs it
        from pydantic import TypeAdapter

    return TypeAdapter(kind)
