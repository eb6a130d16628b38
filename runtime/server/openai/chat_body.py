"""The body of /v1/chat/completions, checked, as a conversation and sampling parameters."""

from __future__ import annotations

from typing import Any

from ...errors import RequestError
from ...text.dialect import Conversation
from ...text.tool_calls.tools import Tool, ToolUse, tool_of, tool_use
from .sampling_body import SamplingBody

MAX_TOP_LOGPROBS = 20
MAX_MESSAGES = 4096
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class ChatBody(SamplingBody, kw_only=True):
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None
    # --- extensions
    reasoning_effort: str | float | None = None
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    input_ids: list[int] | None = None
    return_meta_info: bool | None = None
    return_prompt_token_ids: bool | None = None

    def check(self) -> None:
        """Refuse what no conversation can be."""
        if not self.messages:
            raise RequestError("messages must not be empty", param="messages")
        if len(self.messages) > MAX_MESSAGES:
            raise RequestError(f"at most {MAX_MESSAGES} messages", param="messages")
        for i, message in enumerate(self.messages):
            if message.get("role") not in ROLES:
                raise RequestError(
                    f"a message's role must be one of {', '.join(ROLES)}, got "
                    f"{message.get('role')!r}",
                    param=f"messages[{i}].role",
                )
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise RequestError(
                f"top_logprobs must be in [0, {MAX_TOP_LOGPROBS}]", param="top_logprobs"
            )
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs: true", param="top_logprobs")
        self.check_whole("return_meta_info", "return_prompt_token_ids")
        if self.modalities not in (None, ["text"]):
            raise RequestError('modalities must be ["text"]', param="modalities")
        if isinstance(self.reasoning_effort, str) and self.reasoning_effort not in EFFORTS:
            raise RequestError(
                f"reasoning_effort must be one of {', '.join(EFFORTS)}, got "
                f"{self.reasoning_effort!r}",
                param="reasoning_effort",
            )

    def token_limit(self) -> tuple[int | None, str]:
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens, "max_completion_tokens"
        return self.max_tokens, "max_tokens"

    def conversation(self) -> Conversation:
        """What to answer, and how it is told.

        Raises:
            RequestError: a field is wrong.
        """
        self.check()
        return Conversation(
            self.messages,
            self.tool_use(),
            template_kwargs(self.reasoning_effort) | (self.chat_template_kwargs or {}),
            bool(self.continue_final_message),
            self.add_generation_prompt,
            self.separate_reasoning is not False,
            self.stream_reasoning is not False,
            self.input_ids,
        )

    def tool_use(self) -> ToolUse:
        tools = [_tool(entry, f"tools[{i}]") for i, entry in enumerate(self.tools or ())]
        return tool_use(tools, self.tool_choice, self.parallel_tool_calls is not False)


def template_kwargs(effort: str | float | None) -> dict[str, Any]:
    """A reasoning effort in the words of chat templates; what one does not know is unused."""
    if effort is None:
        return {}
    thinks = effort not in ("none", 0)
    return {"reasoning_effort": effort, "enable_thinking": thinks, "thinking": thinks}


def _tool(entry: dict[str, Any], place: str) -> Tool:
    if entry.get("type", "function") != "function":
        raise RequestError(
            f"a tool's type must be function, got {entry['type']!r}", param=f"{place}.type"
        )
    function = entry.get("function")
    if not isinstance(function, dict):
        raise RequestError("a tool needs a function", param=f"{place}.function")
    return tool_of(function, f"{place}.function")
