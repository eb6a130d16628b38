"""JSON that was generated, as Python values."""

from __future__ import annotations

import dataclasses
import json
from typing import Any


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
        from pydantic import TypeAdapter  # optional: only who passes a dataclass needs it

        return TypeAdapter(kind).validate_json(text)
    raise TypeError(f"kind must be a pydantic model or a dataclass, got {kind!r}")
