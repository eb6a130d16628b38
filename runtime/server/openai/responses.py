"""POST /v1/responses, and asking for stored ones again."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...text.dialect import Turn
from ...text.generation import Generation
from ...text.pieces import Reasoning
from ...text.tokenizer_manager import GenerateInput
from ..answers import reasoning_tokens, stream_answers
from ..context import ServerContext, context_of
from ..errors import openai_envelope
from ..routing import Routes
from ..streaming import EventStream, StreamForm, json_response, while_connected
from .chat import chat_logprobs
from .response_body import ResponseBody
from .response_events import Event, ResponseEvents
from .response_items import input_items
from .response_store import ResponseStore
from .sampling_body import read_sampling
from .stored_response import StoredResponse

router = Routes()
_encode = msgspec.json.Encoder().encode


def named_event(event: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _encode(event))


def _error_event(envelope: dict[str, Any]) -> bytes:
    return named_event({"type": "error", **envelope["error"]})


STREAM = StreamForm(openai_envelope, _error_event)


@router.post("/v1/responses", body=ResponseBody)
async def create_response(request: Request) -> Response:
    body = await read_sampling(request, ResponseBody)
    context = context_of(request)
    run = ResponseRun(context, body)
    if body.stream:
        return EventStream(run.encoded_events(), STREAM)
    if body.background:
        return json_response(run.start())
    return json_response(await while_connected(request, run.whole()))


@router.get("/v1/responses/{response_id}")
async def get_response(request: Request, response_id: str) -> Response:
    return json_response(context_of(request).responses.get(response_id).as_dict())


@router.delete("/v1/responses/{response_id}")
async def delete_response(request: Request, response_id: str) -> Response:
    store = context_of(request).responses
    store.get(response_id)
    store.remove(response_id)
    await _stop(store, response_id)
    return json_response({"id": response_id, "object": "response", "deleted": True})


@router.post("/v1/responses/{response_id}/cancel")
async def cancel_response(request: Request, response_id: str) -> Response:
    store = context_of(request).responses
    response = store.get(response_id)
    if not response.body.background:
        raise RequestError("only a response with background: true can be cancelled")
    await _stop(store, response_id)
    return json_response(response.as_dict())


async def _stop(store: ResponseStore, response_id: str) -> None:
    """End the work on a response that runs in the background."""
    task = store.tasks.get(response_id)
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@router.get("/v1/responses/{response_id}/input_items")
async def list_input_items(request: Request, response_id: str) -> Response:
    items = [
        {"id": f"item_{i}", **item}
        for i, item in enumerate(context_of(request).responses.get(response_id).input)
    ]
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return json_response({"object": "list", "data": items, "has_more": False, **ends})


class ResponseRun:
    """One /v1/responses request on its way to its answer.

    Args:
        context: what the routes share.
        body: the request.

    Raises:
        RequestError: the request is wrong.
    """

    def __init__(self, context: ServerContext, body: ResponseBody) -> None:
        context.check_model(body.model)
        body.check()
        self._context = context
        self._body = body
        before: StoredResponse | None = None
        if body.previous_response_id is not None:
            before = context.responses.get(body.previous_response_id, "previous_response_id")
        given = input_items(body.input)
        self._response = StoredResponse(
            body.rid or f"resp_{uuid.uuid4().hex}",
            body,
            context.model_name,
            given,
            [*(before.items + before.output if before is not None else ()), *given],
        )
        self._turn = self._make_turn()

    async def whole(self) -> dict[str, Any]:
        """The finished response.

        Raises:
            RequestError: and the other errors of generating, before anything was generated.
        """
        async for _ in self.events():
            pass
        return self._response.as_dict()

    def start(self) -> dict[str, Any]:
        """Run in the background; what the response is now."""
        response, store = self._response, self._context.responses
        response.status = "queued"
        store.tasks[response.id] = asyncio.ensure_future(self._run())
        store.add(response)
        return response.as_dict()

    async def _run(self) -> None:
        response = self._response
        try:
            async for _ in self.events():
                pass
        except asyncio.CancelledError:
            response.status = "cancelled"
            raise
        except Exception as error:
            response.status, response.error = "failed", _told(error)
        finally:
            store = self._context.responses
            del store.tasks[response.id]
            store.update(response)

    async def encoded_events(self) -> AsyncGenerator[bytes, None]:
        """``events`` as they are sent."""
        events = self.events()
        try:
            async for event in events:
                yield named_event(event)
        finally:
            await events.aclose()

    async def events(self) -> AsyncGenerator[Event, None]:
        """The response's events; errors before the first one are raised, later ones are told."""
        response, store = self._response, self._context.responses
        writer = ResponseEvents(response)
        stream = stream_answers(self._context.manager, self._turn, [await self._input()])
        has_begun = has_reasoned = False
        try:
            async for progress in stream:
                if not has_begun:
                    has_begun, response.status = True, "in_progress"
                    if self._body.store is not False:
                        store.add(response)
                    for event in writer.open():
                        yield event
                for piece in progress.pieces:
                    has_reasoned |= isinstance(piece, Reasoning)
                    for event in writer.piece(piece):
                        yield event
            for event in self._end(writer, progress.generation, has_reasoned):
                yield event
        except Exception as error:
            if not has_begun:
                raise
            for event in writer.fail(_told(error)):
                yield event
        finally:
            await stream.aclose()
            if response.status == "in_progress":  # the client has left
                response.status = "cancelled"
            store.update(response)

    def _make_turn(self) -> Turn:
        limit = self._body.max_output_tokens
        params = self._body.sampling_params(0 if limit is None else limit)
        conversation = self._body.as_conversation(self._response.items)
        try:
            turn = self._context.dialect.turn(conversation, params)
        except RequestError as error:
            if error.param is None or not error.param.startswith("messages"):
                raise
            raise RequestError(error.message, param="input") from error
        self._response.warnings = list(turn.warnings)
        return turn

    async def _input(self) -> GenerateInput:
        body, manager, turn = self._body, self._context.manager, self._turn
        ids = await manager.encode(turn.prompt, False, "input")
        params = turn.sampling_params
        if body.max_output_tokens is None:
            params = params.with_changes(max_new_tokens=manager.room_after(len(ids)))
        return GenerateInput(
            input_ids=ids,
            sampling_params=params,
            rid=self._response.id,
            stream=bool(body.stream),
            return_logprob=body.wants_logprobs,
            top_logprobs_num=body.top_logprobs or 0,
            priority=body.priority or 0,
            extra_key=body.namespace,
            prompt_field="input",
            param_names=body.param_names(),
        )

    def _logprobs(self, generation: Generation) -> list[Any] | None:
        if not self._body.wants_logprobs:
            return None
        content: list[Any] = chat_logprobs(self._context.manager, generation)["content"]
        return content

    def _end(
        self, writer: ResponseEvents, generation: Generation, has_reasoned: bool
    ) -> Iterator[Event]:
        """Note what it took, and tell that it is over."""
        reasoned = reasoning_tokens(self._context.manager, self._turn, has_reasoned, generation)
        self._response.warnings += generation.warnings
        self._response.usage = {
            "input_tokens": generation.prompt_tokens,
            "input_tokens_details": {"cached_tokens": generation.cached_tokens},
            "output_tokens": generation.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": reasoned},
            "total_tokens": generation.prompt_tokens + generation.completion_tokens,
        }
        cut_off = generation.finish is not None and generation.finish.type == "length"
        yield from writer.close(
            "incomplete" if cut_off else "completed", self._logprobs(generation)
        )


def _told(error: Exception) -> dict[str, Any]:
    """An error inside a response."""
    shown = openai_envelope(error)["error"]
    return {"code": shown["code"] or shown["type"], "message": shown["message"]}
