"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic's API has them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..text.chat import render_chat
from ..text.generation import Generation
from ..text.tokenizer_manager import GenerateInput
from .anthropic_body import MessagesBody, PromptBody
from .anthropic_events import EventWriter, anthropic_envelope, named_event, stop_of, usage_of
from .bodies import read
from .context import ServerContext, context_of
from .routing import Routes
from .streaming import StreamForm, json_response, merge, sse_response, while_connected

router = Routes(anthropic_envelope)
STREAM = StreamForm(lambda error: named_event(anthropic_envelope(error)))


@router.post("/v1/messages", body=MessagesBody)
async def messages(request: Request) -> Response:
    body = await read(request, MessagesBody)
    context = context_of(request)
    context.check_model(body.model)
    answer = MessageAnswer(context, body, f"msg_{uuid.uuid4().hex}")
    response = (
        await sse_response(request, answer.events(), STREAM)
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
    return json_response({"input_tokens": len(await prompt_ids(context, body))})


async def prompt_ids(context: ServerContext, body: PromptBody) -> list[int]:
    """The conversation as the model gets it."""
    text = render_chat(
        context.tokenizer,
        body.conversation(),
        body.functions(),
        add_generation_prompt=not body.continues,
        continue_final_message=body.continues,
        chat_template_kwargs=body.template_kwargs(),
    )
    return await context.manager.encode(text, False, "messages")


@dataclass(slots=True)
class MessageAnswer:
    """One /v1/messages request on its way to its answer."""

    context: ServerContext
    body: MessagesBody
    id: str

    async def whole(self) -> dict[str, Any]:
        generation = await self.context.manager.generate(await self._input())
        content = [{"type": "text", "text": generation.text}] if generation.text else []
        stop_reason, stop_sequence = stop_of(generation, self.body.max_tokens)
        return self._message(generation) | {
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
        }

    async def events(self) -> AsyncIterator[bytes]:
        writer = EventWriter()
        started = False
        async for _, generation in merge(self.context.manager, [await self._input()]):
            if not started:
                started = True
                yield named_event(
                    {"type": "message_start", "message": self._message(generation, opens=True)}
                )
            for event in writer.text(generation.delta):
                yield event
        for event in writer.end(generation, self.body.max_tokens):
            yield event

    async def _input(self) -> GenerateInput:
        return GenerateInput(
            input_ids=await prompt_ids(self.context, self.body),
            sampling_params=self.body.sampling_params(),
            stream=bool(self.body.stream),
            rid=self.id,
            prompt_field="messages",
        )

    def _message(self, generation: Generation, opens: bool = False) -> dict[str, Any]:
        """The message without what it says; one that opens a stream has said nothing yet."""
        usage = usage_of(generation)
        if opens:
            usage["output_tokens"] = 0
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.context.model_name,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
