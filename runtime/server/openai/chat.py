"""POST /v1/chat/completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...errors import RequestError
from ...text.chat import render_chat
from ...text.generation import Generation
from ...text.tokenizer_manager import GenerateInput, with_samples
from ..bodies import read
from ..context import ServerContext, context_of
from ..streaming import event, json_response, merge, sse_response, while_connected
from .sampling_body import SamplingBody, StreamOptions
from .usage import finish_reason, matched_stop, usage

router = APIRouter()
MAX_TOP_LOGPROBS = 20
MAX_MESSAGES = 4096


class ChatBody(SamplingBody, kw_only=True):
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def check(self) -> None:
        if not self.messages:
            raise RequestError("messages must not be empty", param="messages")
        if len(self.messages) > MAX_MESSAGES:
            raise RequestError(f"at most {MAX_MESSAGES} messages", param="messages")
        for i, message in enumerate(self.messages):
            if not isinstance(message.get("role"), str):
                raise RequestError("a message needs a role", param=f"messages[{i}].role")
        if self.tools and self.tool_choice != "none":
            raise RequestError(
                "tool calls are not supported yet: leave out tools, or set tool_choice to none",
                param="tools",
            )
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise RequestError(
                f"top_logprobs must be in [0, {MAX_TOP_LOGPROBS}]", param="top_logprobs"
            )
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs needs logprobs: true", param="top_logprobs")


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    body = await read(request, ChatBody)
    context = context_of(request)
    context.check_model(body.model)
    body.check()
    chat = ChatCompletion(context, body, body.rid or f"chatcmpl-{uuid.uuid4().hex}")
    if body.stream:
        return await sse_response(request, chat.events())
    return json_response(await while_connected(request, chat.whole()))


@dataclass(slots=True)
class ChatCompletion:
    """One /v1/chat/completions request on its way to its answer."""

    context: ServerContext
    body: ChatBody
    id: str
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self) -> dict[str, Any]:
        done = await self.context.manager.generate_all(await self._inputs())
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": generation.text},
                "logprobs": self._logprobs(generation),
                "finish_reason": finish_reason(generation),
                "matched_stop": matched_stop(generation),
            }
            for i, generation in enumerate(done)
        ]
        return self._response("chat.completion", choices) | {"usage": usage(done)}

    async def events(self) -> AsyncIterator[bytes]:
        parts = await self._inputs()
        options = self.body.stream_options or StreamOptions()
        latest: dict[int, Generation] = {}
        sent_logprobs = [0] * len(parts)
        async for i, generation in merge(self.context.manager, parts):
            if i not in latest:
                yield self._chunk(i, {"role": "assistant", "content": ""}, options)
            latest[i] = generation
            logprobs = self._logprobs(generation, sent_logprobs[i])
            if generation.output_logprobs is not None:
                sent_logprobs[i] = len(generation.output_logprobs.values)
            if generation.delta or (logprobs and logprobs["content"]):
                shown = generation if options.continuous_usage_stats else None
                delta = {"content": generation.delta}
                yield self._chunk(i, delta, options, logprobs=logprobs, counted=shown)
            if generation.finish is not None:
                yield self._chunk(i, {}, options, finished=generation)
        if options.include_usage:
            done = [latest[i] for i in sorted(latest)]
            last = self._response("chat.completion.chunk", []) | {"usage": usage(done)}
            yield event(last)

    async def _inputs(self) -> list[GenerateInput]:
        body, manager = self.body, self.context.manager
        text = render_chat(
            manager.tokenizer,
            body.messages,
            body.tools,
            not body.continue_final_message
            if body.add_generation_prompt is None
            else body.add_generation_prompt,
            bool(body.continue_final_message),
            body.chat_template_kwargs,
        )
        limit, name = body.max_completion_tokens, "max_completion_tokens"
        if limit is None:
            limit, name = body.max_tokens, "max_tokens"
        ids = await manager.encode(text, False, "messages")
        request = GenerateInput(
            input_ids=ids,
            sampling_params=body.sampling_params(
                manager.room_after(len(ids)) if limit is None else limit, name
            ),
            stream=bool(body.stream),
            return_logprob=bool(body.logprobs),
            top_logprobs_num=body.top_logprobs or 0,
            priority=body.priority or 0,
            extra_key=body.namespace,
            prompt_field="messages",
        )
        return with_samples(request, self.id)

    def _response(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.context.model_name,
            "choices": choices,
        }

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        options: StreamOptions,
        *,
        logprobs: dict[str, Any] | None = None,
        finished: Generation | None = None,
        counted: Generation | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason(finished) if finished else None,
        }
        if finished is not None:
            choice["matched_stop"] = matched_stop(finished)
        chunk = self._response("chat.completion.chunk", [choice])
        if counted is not None:
            chunk["usage"] = usage([counted])
        elif options.include_usage:
            chunk["usage"] = None
        return event(chunk)

    def _logprobs(self, generation: Generation, start: int = 0) -> dict[str, Any] | None:
        logprobs = generation.output_logprobs
        if not self.body.logprobs or logprobs is None:
            return None
        token_bytes = self.context.manager.token_text_bytes

        def entry(value: float | None, token_id: int) -> dict[str, Any]:
            data = token_bytes(token_id)
            return {
                "token": data.decode("utf-8", "replace"),
                "logprob": value,
                "bytes": list(data),
            }

        content = [
            entry(logprobs.values[place], logprobs.token_ids[place])
            | {"top_logprobs": [entry(value, i) for value, i in logprobs.top[place]]}
            for place in range(start, len(logprobs.token_ids))
        ]
        return {"content": content, "refusal": None}
