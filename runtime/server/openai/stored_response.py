"""One response of /v1/responses: what it answers, and what it has said so far."""

from __future__ import annotations

import time
from typing import Any, Literal

import msgspec

from .response_body import ResponseBody
from .response_items import Item

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class StoredResponse(msgspec.Struct, eq=False):
    """One response: what it answers, and what it has said so far."""

    id: str
    body: ResponseBody
    model: str
    input: list[Item]  # of this request
    items: list[Item]  # the whole conversation it answers, this request's input last
    created_at: int = msgspec.field(default_factory=lambda: int(time.time()))
    status: Status = "in_progress"
    output: list[Item] = []
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    warnings: list[str] = []

    @property
    def has_ended(self) -> bool:
        return self.status not in ("queued", "in_progress")

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
