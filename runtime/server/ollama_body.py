"""What Ollama's API is asked: bodies of /api/chat and /api/generate, and their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import RequestError
from ..sampling_params import SamplingParams
from ..text.dialect import Conversation
from ..text.tool_calls.tools import ToolUse, tool_of, tool_use

MAX_TOP_LOGPROBS = 20

# Ollama's name -> ours.
SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
# Our sampling parameters as the client knows them, for errors that come from the scheduler.
PARAM_NAMES = {"json_schema": "format", "max_new_tokens": "options.num_predict"}
# How Ollama loads a model, and how far it shifts its context: nothing that changes an answer here.
LOADING = frozenset(
    "numa num_ctx num_batch num_gpu main_gpu low_vram f16_kv logits_all vocab_only use_mmap "
    "use_mlock embedding_only num_thread num_keep".split()
)
# Samplers that are not here, and the values that switch them off.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "mirostat": (0,),
    "mirostat_tau": (),
    "mirostat_eta": (),
    "tfs_z": (1,),
    "typical_p": (1,),
    "repeat_last_n": (-1,),
    "penalize_newline": (True,),
}


class OllamaBody(msgspec.Struct, kw_only=True):
    """What chat and generate share. ``keep_alive`` is ignored: the model stays."""

    model: str
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def sampling_params(self, room: int) -> SamplingParams:
        """To our own parameters; ``room`` is how much fits when no limit is asked for."""
        options = {name: v for name, v in (self.options or {}).items() if v is not None}
        limit = options.pop("num_predict", -1)
        if type(limit) is not int or limit < -2:
            raise RequestError(
                f"num_predict must be a count, or -1 for no limit; got {limit!r}",
                param="options.num_predict",
            )
        values = {"max_new_tokens": room if limit < 0 else limit, **_sampling(options)}
        if schema := self._schema():
            values["json_schema"] = schema
        return SamplingParams.from_dict(values)

    def _schema(self) -> str | dict[str, Any] | None:
        if isinstance(self.format, str) and self.format not in ("", "json"):
            raise RequestError(
                f"format must be 'json' or a JSON schema, got {self.format!r}", param="format"
            )
        return '{"type": "object"}' if self.format == "json" else self.format or None

    def template_kwargs(self) -> dict[str, Any]:
        """Thinking in the words of chat templates; what one does not know is unused."""
        if self.think is None:
            return {}
        thinks = bool(self.think)
        effort = {"reasoning_effort": self.think} if isinstance(self.think, str) else {}
        return {"enable_thinking": thinks, "thinking": thinks, **effort}

    def conversation(
        self, turns: list[dict[str, Any]], tools: ToolUse | None = None
    ) -> Conversation:
        """What to answer; a last message of the assistant's is gone on with."""
        return Conversation(
            turns,
            tools or ToolUse(),
            self.template_kwargs(),
            continues_final_message=turns[-1]["role"] == "assistant",
        )

    def check_logprobs(self) -> None:
        if self.top_logprobs and not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise RequestError(
                f"top_logprobs must be in [0, {MAX_TOP_LOGPROBS}]", param="top_logprobs"
            )


class Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


class ToolCall(msgspec.Struct):
    function: Function
    id: str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    def turn(self) -> dict[str, Any]:
        """The message as chat templates take it."""
        if self.images:
            raise RequestError("this model reads text only", param="messages.images")
        turn: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        if self.thinking:
            turn["reasoning_content"] = self.thinking
        if self.tool_calls:
            turn["tool_calls"] = [
                {
                    "id": call.id or f"call_{place}",
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
                for place, call in enumerate(self.tool_calls)
            ]
        if self.role == "tool":
            turn |= {"name": self.tool_name or "", "tool_call_id": self.tool_call_id or "call_0"}
        return turn


class ToolBody(msgspec.Struct):
    function: dict[str, Any]
    type: str | None = None


class ChatBody(OllamaBody, kw_only=True):
    messages: list[Message] = []
    tools: list[ToolBody] | None = None

    def tool_use(self) -> ToolUse:
        tools = [
            tool_of(tool.function, f"tools[{i}].function")
            for i, tool in enumerate(self.tools or ())
        ]
        return tool_use(tools, None)


class GenerateBody(OllamaBody, kw_only=True):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None

    def check(self) -> None:
        for name in ("suffix", "template", "images"):
            if getattr(self, name):
                raise RequestError(f"{name} is not supported by this model", param=name)

    def messages(self) -> list[dict[str, Any]]:
        turns = [{"role": "system", "content": self.system}] if self.system else []
        return [*turns, {"role": "user", "content": self.prompt or ""}]


def _sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name in SAMPLING:
            values[SAMPLING[name]] = value
        elif name in NEUTRAL:
            off = not options.get("mirostat") if name.startswith("mirostat_") else False
            if value not in NEUTRAL[name] and not off:
                raise RequestError(
                    f"this server cannot sample with {name} = {value!r}", param=f"options.{name}"
                )
        elif name not in LOADING:
            raise RequestError(f"unknown option {name!r}", param=f"options.{name}")
    return values
