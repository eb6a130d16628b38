"""Anthropic's stream events, usage, stop reasons and errors, made of a growing generation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .. import request_context
from ..text.answer import Answer
from ..text.generation import Generation
from ..text.pieces import CallArguments, CallStart, Content, Piece, Reasoning
from .anthropic_body import MessagesBody
from .errors import message_of, status_of

_encoder = msgspec.json.Encoder()
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def named_event(data: dict[str, Any]) -> bytes:
    """A server-sent event that is named after its data's type."""
    name: str = data["type"]
    return b"event: " + name.encode() + b"\ndata: " + _encoder.encode(data) + b"\n\n"


def anthropic_envelope(error: Exception) -> dict[str, Any]:
    """``{"type", "error": {type, message}, "request_id"}``; the message begins with the field."""
    param = getattr(error, "param", None)
    message, http = message_of(error), request_context.current.get()
    usual = "invalid_request_error" if status_of(error) < 500 else "api_error"
    return {
        "type": "error",
        "error": {
            "type": _ERROR_TYPES.get(status_of(error), usual),
            "message": f"{param}: {message}" if param else message,
        },
        "request_id": None if http is None else http.id,
    }


def usage_of(generation: Generation) -> dict[str, Any]:
    """Anthropic counts cached input apart: the prompt is the sum of the input counts."""
    return {
        "input_tokens": generation.prompt_tokens - generation.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": generation.cached_tokens,
        "output_tokens": generation.completion_tokens,
    }


def stop_of(generation: Generation, body: MessagesBody, has_calls: bool) -> dict[str, Any]:
    """``stop_reason`` and ``stop_sequence`` of a finished generation."""
    finish = generation.finish
    assert finish is not None
    reason, sequence = "end_turn", None
    if finish.type == "length":
        full = generation.completion_tokens < body.max_tokens
        reason = "model_context_window_exceeded" if full else "max_tokens"
    elif isinstance(finish.matched, str) and finish.matched in (body.stop_sequences or ()):
        reason, sequence = "stop_sequence", finish.matched
    elif has_calls:
        reason = "tool_use"
    return {"stop_reason": reason, "stop_sequence": sequence}


def content_blocks(answer: Answer) -> list[dict[str, Any]]:
    """A whole answer as content blocks; a call that was cut off is none."""
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
    if answer.content:
        blocks.append({"type": "text", "text": answer.content})
    for call in answer.calls:
        arguments = call.parsed()
        if arguments is not None:
            blocks.append(_tool_use(call.id, call.name) | {"input": arguments})
    return blocks


def _tool_use(call_id: str, name: str) -> dict[str, Any]:
    tool_use_id = f"toolu_{call_id.removeprefix('call_')}"
    return {"type": "tool_use", "id": tool_use_id, "name": name, "input": {}}


class EventWriter:
    """Content blocks one after another: each opens, grows and closes before the next opens."""

    def __init__(self) -> None:
        self._index = -1
        self._open: str | None = None  # type of the block that is open
        self._has_calls = False

    def grow(self, piece: Piece) -> Iterator[bytes]:
        """The events of one more piece of the answer."""
        match piece:
            case Content(text):
                yield from self._opened("text", {"type": "text", "text": ""})
                yield self._grown({"type": "text_delta", "text": text})
            case Reasoning(text):
                block = {"type": "thinking", "thinking": "", "signature": ""}
                yield from self._opened("thinking", block)
                yield self._grown({"type": "thinking_delta", "thinking": text})
            case CallStart(_, call_id, name):
                self._has_calls = True
                yield from self._closed()
                yield from self._opened("tool_use", _tool_use(call_id, name))
            case CallArguments(_, text):
                yield self._grown({"type": "input_json_delta", "partial_json": text})

    def end(self, generation: Generation, body: MessagesBody) -> Iterator[bytes]:
        """Close what is open, and the message with it."""
        yield from self._closed()
        yield named_event(
            {
                "type": "message_delta",
                "delta": stop_of(generation, body, self._has_calls),
                "usage": usage_of(generation),
            }
        )
        yield named_event({"type": "message_stop"})

    def _opened(self, kind: str, block: dict[str, Any]) -> Iterator[bytes]:
        if self._open == kind:
            return
        yield from self._closed()
        self._index += 1
        self._open = kind
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        yield named_event(start)
        if self._index == 0:
            yield named_event({"type": "ping"})

    def _grown(self, delta: dict[str, Any]) -> bytes:
        return named_event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _closed(self) -> Iterator[bytes]:
        if self._open == "thinking":
            yield self._grown({"type": "signature_delta", "signature": ""})
        if self._open is not None:
            self._open = None
            yield named_event({"type": "content_block_stop", "index": self._index})
