"""The Responses API's items: what a conversation is made of there, and messages made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import RequestError

Item = dict[str, Any]
Message = dict[str, Any]


def input_items(given: str | Sequence[Mapping[str, Any]]) -> list[Item]:
    """The request's input as items; a text is one message of the user's."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not given:
        raise RequestError("input must not be empty", param="input")
    return [{"type": "message", **item} for item in given]


def messages_of(items: Sequence[Item], instructions: str | None) -> list[Message]:
    """Chat messages in the order of the items, which keep their texts.

    Raises:
        RequestError: an item is of a kind this server does not know.
    """
    messages: list[Message] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    for i, item in enumerate(items):
        match item["type"]:
            case "message":
                messages.append({"role": item.get("role"), "content": item.get("content")})
            case "function_call":
                _add_call(messages, item)
            case "function_call_output":
                messages.append(_result(item))
            case "reasoning":
                continue  # what was thought in earlier turns is not said again
            case kind:
                raise RequestError(
                    f"input items of type {kind!r} are not supported", param=f"input[{i}].type"
                )
    return messages


def _add_call(messages: list[Message], item: Item) -> None:
    """Calls of one turn belong to one message."""
    call = {
        "id": item.get("call_id"),
        "type": "function",
        "function": {"name": item.get("name"), "arguments": item.get("arguments")},
    }
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _result(item: Item) -> Message:
    return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}


# ----------------------------------------------------------------------- output


def message_item(item_id: str) -> Item:
    return {
        "id": item_id,
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }


def reasoning_item(item_id: str) -> Item:
    return {
        "id": item_id,
        "type": "reasoning",
        "status": "in_progress",
        "summary": [],
        "content": [],
    }


def call_item(item_id: str, call_id: str, name: str) -> Item:
    return {
        "id": item_id,
        "type": "function_call",
        "status": "in_progress",
        "call_id": call_id,
        "name": name,
        "arguments": "",
    }


def text_part() -> Item:
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def reasoning_part() -> Item:
    return {"type": "reasoning_text", "text": ""}
