"""Responses that can be asked for again, within a number of them and of bytes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ...errors import RequestError
from .response_body import ResponseBody
from .response_items import Item

MAX_RESPONSES = 1024
MAX_BYTES = 64 << 20

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


@dataclass(slots=True, eq=False)
class StoredResponse:
    """One response: what it answers, and what it has said so far."""

    id: str
    body: ResponseBody
    model: str
    input: list[Item]  # of this request
    items: list[Item]  # the whole conversation it answers, this request's input last
    created_at: int = field(default_factory=lambda: int(time.time()))
    status: Status = "in_progress"
    output: list[Item] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None  # of one that runs in the background

    def as_dict(self) -> dict[str, Any]:
        """The ``response`` object."""
        body = self.body
        incomplete = {"reason": "max_output_tokens"} if self.status == "incomplete" else None
        response = {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": self.status,
            "background": bool(body.background),
            "error": self.error,
            "incomplete_details": incomplete,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": self.model,
            "output": self.output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {
                "effort": body.reasoning.effort if body.reasoning else None,
                "summary": None,
            },
            "store": body.store is not False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": _text_options(body),
            "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": self.usage,
            "user": body.user,
            "metadata": body.metadata or {},
        }
        return response | ({"warnings": self.warnings} if self.warnings else {})


def _text_options(body: ResponseBody) -> dict[str, Any]:
    wanted = body.text.format if body.text is not None else None
    if wanted is None or wanted.type != "json_schema":
        return {"format": {"type": wanted.type if wanted else "text"}}
    shown = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema}
    return {"format": shown | {"strict": wanted.strict}}


class ResponseStore:
    """Keeps the latest responses; the oldest that has ended makes room.

    Args:
        max_responses: how many.
        max_bytes: of their inputs and outputs as JSON.
    """

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._responses: OrderedDict[str, StoredResponse] = OrderedDict()
        self._sizes: dict[str, int] = {}

    def add(self, response: StoredResponse) -> None:
        self._responses[response.id] = response
        self.measure(response)

    def measure(self, response: StoredResponse) -> None:
        """Count what the response has become, and make room for it."""
        if response.id not in self._responses:
            return
        size = len(msgspec.json.encode([response.input, response.output]))
        self._sizes[response.id] = size
        for old in list(self._responses.values()):
            too_many = len(self._responses) > self._max_responses
            if not too_many and sum(self._sizes.values()) <= self._max_bytes:
                return
            if old.task is None and old is not response:
                self.remove(old.id)

    def get(self, response_id: str, param: str | None = None) -> StoredResponse:
        """Raises RequestError: there is none, or none any more; 400 where ``param`` names it."""
        found = self._responses.get(response_id)
        if found is None:
            raise RequestError(
                f"response {response_id!r} was not found; the server keeps the latest "
                f"{self._max_responses}",
                param=param,
                status=404 if param is None else 400,
                code=None if param is None else "previous_response_not_found",
            )
        self._responses.move_to_end(response_id)
        return found

    def remove(self, response_id: str) -> None:
        del self._responses[response_id]
        del self._sizes[response_id]
