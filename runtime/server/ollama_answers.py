"""POST /api/chat and /api/generate: Ollama's answers, whole or one JSON line after another."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RequestError
from ..sampling_params import SamplingParams
from ..text.answer import Answer, AnswerParser
from ..text.dialect import Conversation
from ..text.generation import Generation
from ..text.pieces import CallArguments, CallStart, Content, Piece, Reasoning
from ..text.tokenizer_manager import GenerateInput
from .bodies import read
from .context import ServerContext, context_of
from .errors import message_of
from .ollama_body import PARAM_NAMES, ChatBody, GenerateBody, OllamaBody
from .openai.chat import chat_logprobs
from .routing import Routes
from .streaming import EventStream, StreamForm, json_response, merge, while_connected

_encoder = msgspec.json.Encoder()


def ollama_envelope(error: Exception) -> dict[str, Any]:
    """``{"error": message}``; the message begins with the field."""
    param = getattr(error, "param", None)
    return {"error": f"{param}: {message_of(error)}" if param else message_of(error)}


def json_line(data: dict[str, Any]) -> bytes:
    return _encoder.encode(data) + b"\n"


router = Routes(ollama_envelope)
STREAM = StreamForm(ollama_envelope, json_line, content_type=b"application/x-ndjson")


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
    if not body.messages:
        return json_response(_loaded(name, chat_message(Answer())))
    turns = [message.turn() for message in body.messages]
    conversation = body.conversation(turns, body.tool_use())
    prepared = await prepare(context, body, conversation, [])
    return await _respond(request, OllamaAnswer(context, body, name, prepared, chat_message))


@router.post("/api/generate", body=GenerateBody)
async def generate(request: Request) -> Response:
    body = await read(request, GenerateBody)
    body.check()
    context = context_of(request)
    name = served_model(context, body.model)
    if not body.prompt and not body.system:
        return json_response(_loaded(name, generate_response(Answer())))
    if body.raw:
        prepared = await prepare_raw(context, body, body.prompt or "", body.context or [])
    else:
        conversation = body.conversation(body.messages())
        prepared = await prepare(context, body, conversation, body.context or [])
    answer = OllamaAnswer(context, body, name, prepared, generate_response)
    return await _respond(request, answer)


async def _respond(request: Request, answer: OllamaAnswer) -> Response:
    if answer.body.stream is False:
        return json_response(await while_connected(request, answer.whole()))
    return EventStream(answer.lines(), STREAM)


def _loaded(name: str, nothing: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request that asks for nothing but the model to be there."""
    return {"model": name, "created_at": _now(), **nothing, "done": True, "done_reason": "load"}


def chat_message(answer: Answer) -> dict[str, Any]:
    """An answer, or what it has gained, as /api/chat tells it."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.reasoning:
        message["thinking"] = answer.reasoning
    calls = [(call.name, call.parsed()) for call in answer.calls]
    if calls:
        message["tool_calls"] = [
            {"function": {"name": name, "arguments": arguments}}
            for name, arguments in calls
            if arguments is not None
        ]
    return {"message": message}


def generate_response(answer: Answer) -> dict[str, Any]:
    """The same as /api/generate tells it."""
    thinking = {"thinking": answer.reasoning} if answer.reasoning else {}
    return {"response": answer.content, **thinking}


class Prepared(NamedTuple):
    """A request for the model, and how to read its answer."""

    ids: list[int]
    params: SamplingParams
    parser: AnswerParser
    is_raw: bool


async def prepare(
    context: ServerContext, body: OllamaBody, conversation: Conversation, before: list[int]
) -> Prepared:
    """A conversation in the model's own words, behind the ids of an earlier one."""
    turn = context.dialect.turn(conversation, body.sampling_params(0))
    ids = [*before, *await context.manager.encode(turn.prompt, False, "messages")]
    room = body.sampling_params(context.manager.room_after(len(ids)))
    params = turn.sampling_params.with_changes(max_new_tokens=room.max_new_tokens)
    return Prepared(ids, params, turn.parser(), False)


async def prepare_raw(
    context: ServerContext, body: OllamaBody, prompt: str, before: list[int]
) -> Prepared:
    """A text as it is."""
    ids = [*before, *await context.manager.encode(prompt, False, "prompt")]
    params = body.sampling_params(context.manager.room_after(len(ids)))
    return Prepared(ids, params, AnswerParser(None, None), True)


@dataclass(slots=True)
class OllamaAnswer:
    """One request on its way to its answer.

    Args:
        context: what the routes share.
        body: the request.
        name: of the model, as the client writes it.
        prepared: what the model is asked.
        said: an answer as this route tells it.
    """

    context: ServerContext
    body: OllamaBody
    name: str
    prepared: Prepared
    said: Callable[[Answer], dict[str, Any]]
    started: float = field(default_factory=time.perf_counter)
    first_token: float = 0.0

    async def whole(self) -> dict[str, Any]:
        answer = Answer()
        async for pieces, generation in self._progress():
            answer.add(pieces)
            last = generation
        return self._line(last, answer, 0) | self._summary(last)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """What is new, line by line; calls come whole, with the last line but one."""
        told = 0  # logprobs
        calls = Answer()
        async for pieces, generation in self._progress():
            news = Answer()
            news.add([piece for piece in pieces if isinstance(piece, Content | Reasoning)])
            calls.add([piece for piece in pieces if isinstance(piece, CallStart | CallArguments)])
            if news.content or news.reasoning:
                yield json_line(self._line(generation, news, told))
                told = len(generation.output_ids)
        if calls.calls:
            yield json_line(self._line(generation, calls, told))
            told = len(generation.output_ids)
        yield json_line(self._line(generation, Answer(), told) | self._summary(generation))

    async def _progress(self) -> AsyncGenerator[tuple[list[Piece], Generation], None]:
        self.body.check_logprobs()
        parser = self.prepared.parser
        request = GenerateInput(
            input_ids=self.prepared.ids,
            sampling_params=self.prepared.params,
            stream=True,
            return_logprob=bool(self.body.logprobs),
            top_logprobs_num=self.body.top_logprobs or 0,
            prompt_field="prompt",
            param_names=PARAM_NAMES,
        )
        async for _, generation in merge(self.context.manager, [request]):
            self.first_token = self.first_token or time.perf_counter()
            pieces = parser.feed(generation.delta)
            if generation.finish is not None:
                pieces += parser.finish()
            yield pieces, generation

    def _line(self, generation: Generation, news: Answer, told: int) -> dict[str, Any]:
        line = {"model": self.name, "created_at": _now(), **self.said(news), "done": False}
        if self.body.logprobs and generation.output_logprobs is not None:
            line["logprobs"] = chat_logprobs(self.context.manager, generation, told)["content"]
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
        if self.said is generate_response and not self.prepared.is_raw:
            summary["context"] = [*self.prepared.ids, *generation.output_ids]
        return summary


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
