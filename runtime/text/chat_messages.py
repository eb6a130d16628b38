"""OpenAI's messages as chat templates want them: text contents, known roles, arguments as objects.

A template that knows no tools gets them as text: told in the system message, called and answered
in the frames of the ``hermes`` format. This is the only place that writes that text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RequestError

Message = dict[str, Any]

TOOL_PROMPT = """You may call functions to help with the user's request. You have these functions:
<tools>
{tools}
</tools>
For each function call, write a JSON object with the function's name and its arguments between \
<tool_call> tags:
<tool_call>
{{"name": "function-name", "arguments": {{"argument": "value"}}}}
</tool_call>"""


def for_template(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    template: str,
) -> tuple[list[Message], Sequence[Mapping[str, Any]] | None]:
    """The messages and tools to render.

    Args:
        messages: of the client.
        tools: OpenAI tool definitions.
        template: the Jinja text; its words tell what it knows.

    Raises:
        RequestError: a message has content that is no text, or tool calls of a wrong form.
    """
    plain = [_plain(message, f"messages[{i}]") for i, message in enumerate(messages)]
    if "developer" not in template:
        for message in plain:
            if message.get("role") == "developer":
                message["role"] = "system"
    if re.search(r"\btools\b", template):
        return plain, tools or None
    return _told_as_text(plain, tools or ()), None


def _plain(message: Mapping[str, Any], place: str) -> Message:
    plain = dict(message)
    plain["content"] = _text_of_content(plain.get("content"), f"{place}.content")
    if plain.get("role") == "function":  # what results were called before there were tools
        plain["role"] = "tool"
    if plain.get("tool_calls"):
        plain["tool_calls"] = _calls(plain["tool_calls"], f"{place}.tool_calls")
    else:
        plain.pop("tool_calls", None)
    return plain


def _text_of_content(content: Any, param: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(f"{param} must be text or a list of parts", param=param)
    return "".join(_text_of_part(part, f"{param}[{i}]") for i, part in enumerate(content))


def _text_of_part(part: Any, param: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if isinstance(part, Mapping) and kind in ("text", "input_text", "output_text", "refusal"):
        return str(part.get("refusal" if kind == "refusal" else "text", ""))
    if isinstance(part, Mapping) and kind == "thinking":
        return ""  # what was thought in earlier turns is not said again
    raise RequestError(
        f"message content of type {kind!r} is not supported: this model reads text only",
        param=param,
    )


def _calls(calls: Any, param: str) -> list[dict[str, Any]]:
    """OpenAI writes arguments as JSON text; templates want the object."""
    plain: list[dict[str, Any]] = []
    for i, call in enumerate(calls if isinstance(calls, list) else [calls]):
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise RequestError("a tool call needs a function with a name", param=f"{param}[{i}]")
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):  # the model's own broken JSON may come back
                pass
        plain.append({**call, "type": "function", "function": {**function, "arguments": arguments}})
    return plain


def _told_as_text(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Conversation for a template that has no words for tools."""
    told: list[Message] = []
    for message in messages:
        role = message.get("role")
        if role == "tool":
            text = f"<tool_response>\n{message['content']}\n</tool_response>"
            if told and told[-1].get("results"):
                told[-1]["content"] += f"\n{text}"
            else:
                told.append({"role": "user", "content": text, "results": True})
            continue
        if calls := message.pop("tool_calls", None):
            texts = [message["content"], *map(_call_text, calls)]
            message["content"] = "\n".join(text for text in texts if text)
        told.append(message)
    for message in told:
        message.pop("results", None)
    if tools:
        prompt = TOOL_PROMPT.format(tools="\n".join(map(_dumps, tools)))
        if told and told[0].get("role") == "system":
            told[0]["content"] = f"{told[0]['content']}\n\n{prompt}"
        else:
            told.insert(0, {"role": "system", "content": prompt})
    return told


def _call_text(call: Mapping[str, Any]) -> str:
    function = call["function"]
    written = {"name": function["name"], "arguments": function["arguments"]}
    return f"<tool_call>\n{_dumps(written)}\n</tool_call>"


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
