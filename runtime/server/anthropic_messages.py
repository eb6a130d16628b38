"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic's API has them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..sampling_params import SamplingParams
from ..text.dialect import Turn
from ..text.generation import Generation
from ..text.tokenizer_manager import GenerateInput
from .answers import stream_answers, whole_answers
from .anthropic_body import MessagesBody, PromptBody
from .anthropic_events import (
    EventWriter,
    anthropic_envelope,
    content_blocks,
    named_event,
    stop_of,
    usage_of,
)
from .bodies import read
from .context import ServerContext, context_of
from .routing import Routes
from .streaming import EventStream, StreamForm, json_response, while_connected

router = Routes(anthropic_envelope)
STREAM = StreamForm(anthropic_envelope, named_event)


@router.post("/v1/messages", body=MessagesBody)
async def messages(request: Request) -> Response:
    body = await read(request, MessagesBody)
    context = context_of(request)
    context.check_model(body.model)
    answer = MessageAnswer(context, body, f"msg_{uuid.uuid4().hex}")
    response = (
        EventStream(answer.events(), STREAM)
        if body.stream
        else json_response(await while_connected(request, answer.whole()))
    )
    response.headers["request-id"] = answer.id
    return response


@router.post("/v1/messages/count_tokens", body=PromptBody)
async def count_tokens(request: Request) -> Response:
    body = await read(request, PromptBody)
    context = context_of(request)
    context.check_model(body.model)
    turn = context.dialect.turn(body.conversation(), SamplingParams())
    ids = await context.manager.encode(turn.prompt, False, "messages")
    return json_response({"input_tokens": len(ids)})


@dataclass(slots=True)
class MessageAnswer:
    """One /v1/messages request on its way to its answer."""

    context: ServerContext
    body: MessagesBody
    id: str

    async def whole(self) -> dict[str, Any]:
        turn, request = await self._prepare()
        [(answer, generation)] = await whole_answers(self.context.manager, turn, [request])
        return (
            self._message(generation)
            | {"content": content_blocks(answer)}
            | stop_of(generation, self.body, bool(answer.calls))
        )

    async def events(self) -> AsyncGenerator[bytes, None]:
        turn, request = await self._prepare()
        writer = EventWriter()
        started = False
        async for _, pieces, generation in stream_answers(self.context.manager, turn, [request]):
            if not started:
                started = True
                message = self._message(generation)
                message["usage"]["output_tokens"] = 0
                yield named_event({"type": "message_start", "message": message})
            for piece in pieces:
                for event in writer.grow(piece):
                    yield event
        for event in writer.end(generation, self.body):
            yield event

    async def _prepare(self) -> tuple[Turn, GenerateInput]:
        turn = self.context.dialect.turn(self.body.conversation(), self.body.sampling_params())
        request = GenerateInput(
            input_ids=await self.context.manager.encode(turn.prompt, False, "messages"),
            sampling_params=turn.sampling_params,
            stream=bool(self.body.stream),
            rid=self.id,
            prompt_field="messages",
            param_names=self.body.param_names(),
        )
        return turn, request

    def _message(self, generation: Generation) -> dict[str, Any]:
        """The message without what it says."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.context.model_name,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(generation),
        }
