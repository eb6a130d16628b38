"""Tool calls that must come, or must come whole, as constraints of the decoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...errors import RequestError
from .call_format import CallFormat, CallFrame
from .tools import Tool, ToolUse


def forced_calls(call_format: CallFormat, use: ToolUse) -> str:
    """The value of ``SamplingParams.tool_calls`` for an answer of nothing but calls."""
    frame = call_format.frame
    return json.dumps(
        {
            "opening": frame.opening,
            "begin": frame.begin,
            "end": frame.end,
            "separator": frame.separator,
            "closing": frame.closing,
            "calls": [_call_schema(frame, tool) for tool in use.allowed],
            "min": use.least,
            "max": use.most,
        }
    )


def strict_calls(call_format: CallFormat, tools: Sequence[Tool]) -> str | None:
    """A structural tag under which a call, once begun, is one of a tool's schema.

    None where the format has no text that marks both ends of a call.
    """
    frame = call_format.frame
    if not (frame.begin and frame.end):
        return None
    sections = [
        {
            "begin": f'{frame.begin}{{"name": {json.dumps(tool.name)}, "{frame.arguments_key}": ',
            "schema": tool.arguments_schema(),
            "end": "}" + frame.end,
        }
        for tool in tools
    ]
    return json.dumps({"structures": sections, "triggers": [call_format.markers[0]]})


def answer_or_calls(frame: CallFrame, use: ToolUse, schema: str) -> str:
    """A grammar, in llguidance's Lark, of JSON that satisfies a schema or of calls in a frame.

    Args:
        frame: of the calls.
        use: its tools.
        schema: JSON text.

    Raises:
        RequestError: the schema is no JSON.
    """
    calls = " | ".join(f"call_{i}" for i in range(len(use.allowed)))
    more = "" if use.most == 1 else f" ({_quoted(frame.separator)} call)*"
    rules = [
        "start: answer | calls",
        f"answer: {_json(_parsed(schema))}",
        f"calls: {_quoted(frame.opening)} call{more} {_quoted(frame.closing)}",
        f"call: {calls}",
    ]
    for i, tool in enumerate(use.allowed):
        head = f'{frame.begin}{{"name": {json.dumps(tool.name)}, "{frame.arguments_key}": '
        rules.append(f"call_{i}: {_quoted(head)} arguments_{i} {_quoted('}' + frame.end)}")
        rules.append(f"arguments_{i}: {_json(tool.arguments_schema())}")
    return "\n".join(rules)


def _json(schema: Any) -> str:
    """A schema within a grammar, spaced as a model writes JSON."""
    document = {} if schema is True else {"not": {}} if schema is False else schema
    return "%json " + json.dumps({**document, "x-guidance": _SPACING})


_SPACING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _parsed(schema: str) -> Any:
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"json_schema is not valid JSON: {error}", param="json_schema"
        ) from error
    if not isinstance(parsed, dict | bool):
        raise RequestError("json_schema must be an object or a boolean", param="json_schema")
    return parsed


def _call_schema(frame: CallFrame, tool: Tool) -> dict[str, Any]:
    """The schema of a whole call; the name comes first, and so tells the calls apart early."""
    return {
        "type": "object",
        "properties": {
            "name": {"const": tool.name},
            frame.arguments_key: tool.arguments_schema(),
        },
        "required": ["name", frame.arguments_key],
        "additionalProperties": False,
    }
