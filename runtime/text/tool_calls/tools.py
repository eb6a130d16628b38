"""The tools of a request, checked, and which of them the model may or must call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import RequestError

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the client's. ``parameters`` is the JSON Schema of its arguments."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False

    def definition(self) -> dict[str, Any]:
        """The tool as OpenAI's API and the models' templates write it."""
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        function["parameters"] = dict(self.parameters) or {"type": "object", "properties": {}}
        return {"type": "function", "function": function}

    def arguments_schema(self) -> dict[str, Any]:
        """A document of its own, in which ``$ref`` finds its ``$defs`` wherever it is put."""
        schema = dict(self.parameters) or {"type": "object", "properties": {}}
        schema.setdefault("type", "object")
        return {"$id": f"tool:{self.name}", **schema}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of a request and how many calls its answer has.

    Attributes:
        tools: those in the prompt.
        allowed: those that may be called.
        least: calls that the answer must have; then it is nothing but calls.
        most: calls that it may have, None for any number; 0 means that no call is looked for.
    """

    tools: tuple[Tool, ...] = ()
    allowed: tuple[Tool, ...] = ()
    least: int = 0
    most: int | None = 0

    @property
    def is_off(self) -> bool:
        return self.most == 0

    @property
    def is_forced(self) -> bool:
        return self.least > 0


def tool_of(function: Mapping[str, Any], place: str) -> Tool:
    """A tool from ``{"name", "description", "parameters", "strict"}``.

    Args:
        place: how the client wrote where it stands, for errors.

    Raises:
        RequestError: a field is missing or of a wrong type.
    """
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            f"a tool's name must be 1 to 64 letters, digits, '_', '.' or '-', got {name!r}",
            param=f"{place}.name",
        )
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise RequestError("a tool's description must be text", param=f"{place}.description")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RequestError(
            "a tool's parameters must be a JSON Schema object", param=f"{place}.parameters"
        )
    strict = function.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise RequestError("strict must be true or false", param=f"{place}.strict")
    return Tool(name, description, parameters or {}, bool(strict))


def tool_use(
    tools: Sequence[Tool], choice: Any, parallel: bool = True, param: str = "tool_choice"
) -> ToolUse:
    """What a request's tools and its tool choice mean together.

    Args:
        tools: of the request.
        choice: None, "none", "auto", "required", ``{"type": "function", "function": {"name"}}``,
            the same with the name outside, or ``{"type": "allowed_tools", ...}``.
        parallel: whether one answer may have several calls.
        param: what the client calls the choice.

    Raises:
        RequestError: the choice names no tool of the request, or is none of these.
    """
    if len(tools) > MAX_TOOLS:
        raise RequestError(f"at most {MAX_TOOLS} tools, got {len(tools)}", param="tools")
    by_name = {tool.name: tool for tool in tools}
    if len(by_name) < len(tools):
        raise RequestError("two tools have the same name", param="tools")
    mode, names = _choice(choice, param)
    if mode is None:
        mode = "auto" if tools else "none"
    if mode == "none":
        return ToolUse(tuple(tools))
    if not tools:
        raise RequestError(f"{param} {mode!r} needs tools", param=param)
    unknown = [name for name in names or () if name not in by_name]
    if unknown:
        raise RequestError(f"{param} names {unknown[0]!r}, which is not in tools", param=param)
    allowed = tuple(by_name[name] for name in names or by_name)
    if mode == "named":
        return ToolUse(tuple(tools), allowed, least=1, most=1)
    most = None if parallel else 1
    return ToolUse(tuple(tools), allowed, least=int(mode == "required"), most=most)


def _choice(choice: Any, param: str) -> tuple[str | None, list[str] | None]:
    """(none, auto, required or named; the names it allows, None for all)."""
    if choice is None or choice in ("none", "auto", "required"):
        return choice, None
    if isinstance(choice, dict) and choice.get("type") == "function":
        inner = choice.get("function", choice)
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            return "named", [inner["name"]]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        names = [_allowed_name(entry) for entry in inner.get("tools") or ()]
        if names and None not in names and inner.get("mode") in ("auto", "required"):
            return inner["mode"], [name for name in names if name is not None]
    raise RequestError(
        f'{param} must be "none", "auto", "required" or name a function, got {choice!r}',
        param=param,
    )


def _allowed_name(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return None
    name = entry.get("function", entry)
    name = name.get("name") if isinstance(name, dict) else None
    return name if isinstance(name, str) else None
