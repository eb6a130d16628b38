"""The body of /v1/responses, checked, as a conversation and sampling parameters."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import RequestError
from ...text.dialect import Conversation
from ...text.tool_calls.tools import Tool, ToolUse, tool_of, tool_use
from .chat_body import EFFORTS, MAX_TOP_LOGPROBS, ROLES, template_kwargs
from .response_items import Item, messages_of
from .sampling_body import JsonSchemaFormat, ResponseFormat, SamplingBody

LOGPROBS = "message.output_text.logprobs"


class TextFormat(msgspec.Struct):
    """``text.format``: a response_format whose schema is not wrapped."""

    type: str = "text"
    name: str = "schema"
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None
    description: str | None = None


class TextOptions(msgspec.Struct):
    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningOptions(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class ResponseBody(SamplingBody, kw_only=True):
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[str] | None = None
    truncation: str | None = None
    top_logprobs: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    prompt: Any = None
    conversation: Any = None

    def check(self) -> None:
        """Refuse what is not served, and put ``text.format`` where the other bodies have it."""
        for name in ("prompt", "conversation"):
            if getattr(self, name) is not None:
                raise RequestError(f"{name} is not supported by this server", param=name)
        if self.truncation not in (None, "disabled"):
            raise RequestError("truncation must be disabled", param="truncation")
        if self.background and self.store is False:
            raise RequestError("background needs store: nothing else keeps it", param="background")
        if self.background and self.stream:
            raise RequestError("a background response cannot be streamed", param="stream")
        if self.n not in (None, 1):
            raise RequestError("n must be 1", param="n")
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise RequestError(
                f"top_logprobs must be in [0, {MAX_TOP_LOGPROBS}]", param="top_logprobs"
            )
        effort = self.reasoning.effort if self.reasoning else None
        if effort is not None and effort not in EFFORTS:
            raise RequestError(
                f"reasoning.effort must be one of {', '.join(EFFORTS)}, got {effort!r}",
                param="reasoning.effort",
            )
        if self.text is not None and self.text.format is not None:
            given = self.text.format
            schema = JsonSchemaFormat(given.name, given.schema, given.strict)
            self.response_format = ResponseFormat(given.type, schema)

    def token_limit(self) -> tuple[int | None, str]:
        return self.max_output_tokens, "max_output_tokens"

    def param_names(self) -> dict[str, str]:
        names = super().param_names()
        if self.text is not None:
            names |= {
                "json_schema": "text.format",
                "ebnf": "text.format",
                "response_format": "text.format",
                "response_format.type": "text.format.type",
                "response_format.json_schema.schema": "text.format.schema",
            }
        return names

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ())

    def as_conversation(self, items: list[Item]) -> Conversation:
        """What to answer.

        Args:
            items: those before this request's and its own.

        Raises:
            RequestError: an item or a tool is wrong.
        """
        messages = messages_of(items, self.instructions)
        for message in messages:
            if message["role"] not in ROLES:
                raise RequestError(
                    f"a message's role must be one of {', '.join(ROLES)}, got {message['role']!r}",
                    param="input",
                )
        effort = self.reasoning.effort if self.reasoning else None
        kwargs = template_kwargs(effort) | (self.chat_template_kwargs or {})
        return Conversation(messages, self.tool_use(), kwargs)

    def tool_use(self) -> ToolUse:
        tools = [_tool(entry, f"tools[{i}]") for i, entry in enumerate(self.tools or ())]
        return tool_use(tools, self.tool_choice, self.parallel_tool_calls is not False)


def _tool(entry: dict[str, Any], place: str) -> Tool:
    if entry.get("type") != "function":
        raise RequestError(
            f"a tool's type must be function, got {entry.get('type')!r}: this server runs no tools "
            "of its own",
            param=f"{place}.type",
        )
    return tool_of(entry, place)
