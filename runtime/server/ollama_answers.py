"""POST /api/chat and /api/generate: Ollama's answers, whole or one JSON line after another."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RequestError
from ..text.chat import render_chat
from ..text.generation import Generation
from ..text.tokenizer_manager import GenerateInput
from .bodies import read
from .context import ServerContext, context_of
from .errors import message_of
from .ollama_body import ChatBody, GenerateBody, OllamaBody
from .routing import Routes
from .streaming import StreamForm, json_response, merge, sse_response, while_connected

_encoder = msgspec.json.Encoder()


def ollama_envelope(error: Exception) -> dict[str, Any]:
    """``{"error": message}``; the message begins with the field."""
    param = getattr(error, "param", None)
    return {"error": f"{param}: {message_of(error)}" if param else message_of(error)}


def json_line(data: dict[str, Any]) -> bytes:
    return _encoder.encode(data) + b"\n"


router = Routes(ollama_envelope)
STREAM = StreamForm(
    lambda error: json_line(ollama_envelope(error)), media_type="application/x-ndjson"
)


def served_model(context: ServerContext, name: str) -> str:
    """The name as its client writes it; Ollama's clients add ":latest" to what has no tag.

    Raises:
        RequestError: there is no such model, or none is named.
    """
    if not name:
        raise RequestError("model is required", param="model")
    context.check_model(name.removesuffix(":latest"))
    return name


@router.post("/api/chat", body=ChatBody)
async def chat(request: Request) -> Response:
    body = await read(request, ChatBody)
    context = context_of(request)
    name = served_model(context, body.model)

    def said(text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    if not body.messages:
        return json_response(_loaded(name, said("")))
    turns = [message.turn() for message in body.messages]
    ids = await _chat_ids(context, body, turns, body.tools)
    return await _respond(request, OllamaAnswer(context, body, name, ids, said))


@router.post("/api/generate", body=GenerateBody)
async def generate(request: Request) -> Response:
    body = await read(request, GenerateBody)
    body.check()
    context = context_of(request)
    name = served_model(context, body.model)

    def said(text: str) -> dict[str, Any]:
        return {"response": text}

    if not body.prompt and not body.system:
        return json_response(_loaded(name, said("")))
    if body.raw:
        ids = await context.manager.encode(body.prompt or "", False, "prompt")
    else:
        ids = await _chat_ids(context, body, body.messages(), None)
    answer = OllamaAnswer(context, body, name, [*(body.context or ()), *ids], said)
    answer.tells_context = not body.raw
    return await _respond(request, answer)


async def _chat_ids(
    context: ServerContext,
    body: OllamaBody,
    turns: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
) -> list[int]:
    """The conversation as the model gets it; one that ends with the assistant's turn goes on."""
    continues = turns[-1]["role"] == "assistant"
    text = render_chat(
        context.tokenizer, turns, tools, not continues, continues, body.template_kwargs()
    )
    return await context.manager.encode(text, False, "messages")


async def _respond(request: Request, answer: OllamaAnswer) -> Response:
    if answer.body.stream is False:
        return json_response(await while_connected(request, answer.whole()))
    return await sse_response(request, answer.lines(), STREAM)


def _loaded(name: str, nothing: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request that asks for nothing but the model to be there."""
    return {"model": name, "created_at": _now(), **nothing, "done": True, "done_reason": "load"}


@dataclass(slots=True)
class OllamaAnswer:
    """One request on its way to its answer.

    Args:
        context: what the routes share.
        body: the request.
        name: of the model, as the client writes it.
        ids: the prompt.
        said: text as this route's response holds it.
    """

    context: ServerContext
    body: OllamaBody
    name: str
    ids: list[int]
    said: Callable[[str], dict[str, Any]]
    tells_context: bool = False
    started: float = field(default_factory=time.perf_counter)
    first_token: float = 0.0

    async def whole(self) -> dict[str, Any]:
        async for generation in self._generations():
            last = generation
        return self._line(last, last.text, 0) | self._summary(last)

    async def lines(self) -> AsyncIterator[bytes]:
        told = 0  # logprobs
        async for generation in self._generations():
            if generation.delta:
                yield json_line(self._line(generation, generation.delta, told))
                told = len(generation.output_ids)
        yield json_line(self._line(generation, "", told) | self._summary(generation))

    async def _generations(self) -> AsyncIterator[Generation]:
        self.body.check_logprobs()
        manager = self.context.manager
        request = GenerateInput(
            input_ids=self.ids,
            sampling_params=self.body.sampling_params(manager.room_after(len(self.ids))),
            stream=True,
            return_logprob=bool(self.body.logprobs),
            top_logprobs_num=self.body.top_logprobs or 0,
            prompt_field="prompt",
        )
        async for _, generation in merge(manager, [request]):
            self.first_token = self.first_token or time.perf_counter()
            yield generation

    def _line(self, generation: Generation, text: str, told: int) -> dict[str, Any]:
        line = {"model": self.name, "created_at": _now(), **self.said(text), "done": False}
        if self.body.logprobs and generation.output_logprobs is not None:
            line["logprobs"] = self._logprobs(generation, told)
        return line

    def _summary(self, generation: Generation) -> dict[str, Any]:
        """What the last line adds; durations in nanoseconds."""
        assert generation.finish is not None
        now = time.perf_counter()
        summary: dict[str, Any] = {
            "done": True,
            "done_reason": generation.finish.type,
            "total_duration": _nanoseconds(now - self.started),
            "load_duration": 0,
            "prompt_eval_count": generation.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(self.first_token - self.started),
            "eval_count": generation.completion_tokens,
            "eval_duration": _nanoseconds(now - self.first_token),
        }
        if self.tells_context:
            summary["context"] = [*self.ids, *generation.output_ids]
        return summary

    def _logprobs(self, generation: Generation, start: int) -> list[dict[str, Any]]:
        logprobs = generation.output_logprobs
        assert logprobs is not None

        def entry(value: float | None, token_id: int) -> dict[str, Any]:
            data = self.context.manager.token_text_bytes(token_id)
            text = data.decode("utf-8", "replace")
            return {"token": text, "logprob": value, "bytes": list(data)}

        return [
            entry(logprobs.values[place], logprobs.token_ids[place])
            | {"top_logprobs": [entry(value, i) for value, i in logprobs.top[place]]}
            for place in range(start, len(logprobs.token_ids))
        ]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
