"""Constraints as hosted APIs take them: JSON schemas, or answers that are checked afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ..errors import BackendError
from ..extras import needs
from ..ir import GenOptions
from .base import Completion

# A value in an object, since the APIs only take schemas of objects.
ANSWER = "answer"
OBJECT_TOKENS = 32  # more than that object takes around the value
_JSON_TYPES = {int: "integer", float: "number", bool: "boolean"}


def is_constrained(options: GenOptions) -> bool:
    return options.regex is not None or options.json_schema is not None


def schema_of(options: GenOptions) -> dict[str, Any] | None:
    """What to hold the model to; None where a schema cannot say it."""
    if options.json_schema is not None:
        schema: dict[str, Any] = json.loads(options.json_schema)
        return schema
    if options.dtype in _JSON_TYPES:
        return in_object({"type": _JSON_TYPES[options.dtype]})
    return None


def schema_of_choices(choices: Sequence[str]) -> dict[str, Any]:
    return in_object({"type": "string", "enum": list(choices)})


def in_object(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {ANSWER: schema},
        "required": [ANSWER],
        "additionalProperties": False,
    }


def out_of_object(answer: Completion) -> Completion:
    """The value inside the object, spelled as Python spells it."""
    try:
        return Completion(str(json.loads(answer.text)[ANSWER]), answer.meta_info)
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(f"not the object that was asked for: {answer.text!r}") from error


def is_closed(schema: Any) -> bool:
    """Whether it names all that an object may hold, as the strict modes of the APIs want it."""
    if isinstance(schema, list):
        return all(map(is_closed, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        required, properties = schema.get("required", ()), schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(required) != set(properties):
            return False
    return all(map(is_closed, schema.values()))


def plain(options: GenOptions) -> GenOptions:
    """Without the constraint."""
    return options._replace(regex=None, json_schema=None, dtype=None)


def for_schema(options: GenOptions) -> GenOptions:
    """A stop would cut the object; around a typed value it takes some more tokens."""
    max_tokens = options.max_tokens
    if options.dtype is not None and max_tokens is not None:
        max_tokens += OBJECT_TOKENS
    return plain(options)._replace(stop=None, max_tokens=max_tokens)


def obeys(text: str, options: GenOptions) -> bool:
    """Whether an answer is what the options ask for."""
    if options.regex is not None:
        return re.fullmatch(options.regex, text) is not None
    if options.json_schema is None:
        return True
    with needs("openai"):  # every extra of a hosted API has it
        import jsonschema
    try:
        jsonschema.validate(json.loads(text), json.loads(options.json_schema))
    except (ValueError, jsonschema.ValidationError):
        return False
    return True
