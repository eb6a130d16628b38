"""Tool calls that must come, or must come whole, as constraints of the decoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

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
