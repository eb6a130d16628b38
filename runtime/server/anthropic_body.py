"""What /v1/messages is asked, and the same as a conversation for the model's chat template.

The shapes are those of Anthropic's Messages API. Fields that change nothing here
(``cache_control``, ``metadata``, ``service_tier``) are ignored: every prefix is cached anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from ..errors import RequestError
from ..sampling_params import SamplingParams
from ..text.dialect import Conversation
from ..text.tool_calls.tools import Tool, ToolUse, tool_of, tool_use

MAX_MESSAGES = 100_000


class Text(msgspec.Struct, tag="text"):
    text: str


class Thinking(msgspec.Struct, tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedThinking(msgspec.Struct, tag="redacted_thinking"):
    """Nothing that a model can read."""

    data: str = ""


class Image(msgspec.Struct, tag="image"):
    source: Any = None


class Document(msgspec.Struct, tag="document"):
    source: dict[str, Any]
    title: str | None = None
    context: str | None = None

    def as_text(self) -> str:
        kind = self.source.get("type")
        if kind != "text" or not isinstance(self.source.get("data"), str):
            raise RequestError(
                f"a document's source must be of type 'text', with data; got {kind!r}",
                param="messages.content.source",
            )
        return "\n".join(filter(None, [self.title, self.context, self.source["data"]]))


class SearchResult(msgspec.Struct, tag="search_result"):
    source: str
    title: str
    content: list[Text]

    def as_text(self) -> str:
        return "\n".join([self.title, self.source, *(part.text for part in self.content)])


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


class ToolResult(msgspec.Struct, tag="tool_result"):
    tool_use_id: str
    content: str | list[Text | Image | Document | SearchResult] | None = None
    is_error: bool | None = None


Block = (
    Text | Thinking | RedactedThinking | Image | Document | SearchResult | ToolUseBlock | ToolResult
)


class Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolBody(msgspec.Struct):
    """A tool that the client runs; ``type`` is set for those of Anthropic's own servers."""

    name: str
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None
    strict: bool | None = None

    def tool(self, where: str) -> Tool:
        if self.type not in (None, "custom") or self.input_schema is None:
            raise RequestError(
                f"the tool {self.name!r} is none that the client runs: give it an input_schema, "
                "and no type but 'custom'",
                param=where,
            )
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.input_schema,
            "strict": self.strict,
        }
        return tool_of(function, where)


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    def as_openai(self) -> Any:
        """The choice in OpenAI's words."""
        if self.type == "tool":
            return {"type": "function", "name": self.name}
        return "required" if self.type == "any" else self.type


class ThinkingConfig(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None


class OutputFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any] | bool


class OutputConfig(msgspec.Struct):
    format: OutputFormat | None = None
    effort: str | None = None


class PromptBody(msgspec.Struct, kw_only=True):
    """What there is to count: the body of /v1/messages/count_tokens."""

    model: str
    messages: list[Message]
    system: str | list[Text] | None = None
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    def conversation(self) -> Conversation:
        """What to answer, as every protocol puts it.

        Raises:
            RequestError: a field is wrong, or holds what this model cannot read.
        """
        return Conversation(
            self._turns(),
            self._tool_use(),
            self._template_kwargs(),
            # An answer goes on from a last message of the assistant's own.
            continues_final_message=self.messages[-1].role == "assistant",
        )

    def _turns(self) -> list[dict[str, Any]]:
        """The messages as chat templates take them: role, content, tool_calls."""
        if not self.messages:
            raise RequestError("at least one message is required", param="messages")
        if len(self.messages) > MAX_MESSAGES:
            raise RequestError(f"at most {MAX_MESSAGES} messages", param="messages")
        turns = list(_system(self.system))
        tool_names: dict[str, str] = {}
        for place, message in enumerate(self.messages):
            if isinstance(message.content, str):
                turns.append({"role": message.role, "content": message.content})
            elif message.role == "assistant":
                turns.append(_assistant_turn(message.content, f"messages.{place}.content"))
                tool_names |= {b.id: b.name for b in message.content if isinstance(b, ToolUseBlock)}
            else:
                turns += _user_turns(message, tool_names, f"messages.{place}.content")
        return turns

    def _tool_use(self) -> ToolUse:
        tools = [tool.tool(f"tools.{i}") for i, tool in enumerate(self.tools or ())]
        choice = self.tool_choice
        if choice is None:
            return tool_use(tools, None)
        return tool_use(tools, choice.as_openai(), not choice.disable_parallel_tool_use)

    def _template_kwargs(self) -> dict[str, Any]:
        """Thinking and effort in the words of chat templates; what one does not know is unused."""
        kwargs: dict[str, Any] = {}
        if self.thinking is not None:
            thinks = self.thinking.type != "disabled"
            kwargs |= {"enable_thinking": thinks, "thinking": thinks}
        if self.output_config is not None and self.output_config.effort is not None:
            kwargs["reasoning_effort"] = self.output_config.effort
        return kwargs


class MessagesBody(PromptBody, kw_only=True):
    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def sampling_params(self) -> SamplingParams:
        """To our own parameters; errors name Anthropic's fields."""
        values: dict[str, Any] = {
            "max_new_tokens": self.max_tokens,
            "stop": self.stop_sequences,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }
        given = self.output_config.format if self.output_config else None
        output_format = given or self.output_format
        if output_format is not None:
            values["json_schema"] = output_format.schema
        try:
            return SamplingParams.from_dict(values)
        except RequestError as error:
            ours = error.param or ""
            theirs = self.param_names().get(ours, ours)
            raise RequestError(error.message.replace(ours, theirs), param=theirs) from error

    def param_names(self) -> dict[str, str]:
        """Our sampling parameters that the client knows by other names."""
        return {
            "max_new_tokens": "max_tokens",
            "stop": "stop_sequences",
            "json_schema": "output_config.format.schema",
            "tool_calls": "tools",
            "structural_tag": "tools",
        }


def _system(system: str | list[Text] | None) -> Iterator[dict[str, Any]]:
    text = system if isinstance(system, str) else "\n\n".join(part.text for part in system or ())
    if text:
        yield {"role": "system", "content": text}


def _assistant_turn(blocks: Iterable[Block], where: str) -> dict[str, Any]:
    text, thoughts = "", ""
    calls: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        if isinstance(block, ToolUseBlock):
            function = {"name": block.name, "arguments": block.input}
            calls.append({"id": block.id, "type": "function", "function": function})
        elif isinstance(block, Thinking):
            thoughts += block.thinking
        elif not isinstance(block, RedactedThinking):
            text += _text_of(block, f"{where}.{place}")
    turn: dict[str, Any] = {"role": "assistant", "content": text}
    if thoughts:
        turn["reasoning_content"] = thoughts
    if calls:
        turn["tool_calls"] = calls
    return turn


def _user_turns(message: Message, tool_names: dict[str, str], where: str) -> list[dict[str, Any]]:
    """A user's blocks in their order: each tool result is a turn of its own."""
    turns: list[dict[str, Any]] = []
    for place, block in enumerate(message.content):
        assert not isinstance(block, str)
        here = f"{where}.{place}"
        if isinstance(block, ToolResult):
            turns.append(_tool_turn(block, tool_names, here))
        elif turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += _text_of(block, here)
        else:
            turns.append({"role": message.role, "content": _text_of(block, here)})
    return turns or [{"role": message.role, "content": ""}]


def _tool_turn(block: ToolResult, tool_names: dict[str, str], where: str) -> dict[str, Any]:
    if block.tool_use_id not in tool_names:
        raise RequestError(
            f"no tool_use before it has the id {block.tool_use_id!r}",
            param=f"{where}.tool_use_id",
        )
    content = block.content or ""
    if not isinstance(content, str):
        content = "".join(_text_of(part, f"{where}.content") for part in content)
    return {
        "role": "tool",
        "tool_call_id": block.tool_use_id,
        "name": tool_names[block.tool_use_id],
        "content": f"Error: {content}" if block.is_error else content,
    }


def _text_of(block: Block, where: str) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Document | SearchResult):
        return block.as_text()
    kind = block.__struct_config__.tag
    raise RequestError(f"content of type {kind!r} cannot be read here", param=f"{where}.type")
