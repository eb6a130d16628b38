"""Server-sent events, streams merged, and clients that leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from ..errors import RequestError
from ..text.generation import Generation
from ..text.tokenizer_manager import GenerateInput, TokenizerManager
from .errors import envelope, status_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


def event(data: Any) -> bytes:
    return b"data: " + _encode(data) + b"\n\n"


def json_response(data: Any, status: int = 200) -> Response:
    return Response(_encode(data), status, media_type="application/json")


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of ``work``; cancels it when the client goes away.

    Raises:
        RequestError: status 499, for the log: nobody reads the answer.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestError("the client closed the connection", status=499)
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def merge(
    manager: TokenizerManager, requests: Sequence[GenerateInput]
) -> AsyncIterator[tuple[int, Generation]]:
    """(index, generation) of several requests as they grow; leaving aborts them all."""
    if len(requests) == 1:
        stream = manager.stream(requests[0])
        try:
            async for generation in stream:
                yield 0, generation
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        return
    turns: asyncio.Queue[tuple[int, Generation | BaseException | None, asyncio.Event]]
    turns = asyncio.Queue(maxsize=len(requests))

    async def follow(index: int, request: GenerateInput) -> None:
        taken = asyncio.Event()
        try:
            async for generation in manager.stream(request):
                await turns.put((index, generation, taken))
                await taken.wait()  # its delta must not be cleared before it was sent
                taken.clear()
            await turns.put((index, None, taken))
        except Exception as error:
            await turns.put((index, error, taken))

    tasks = [asyncio.ensure_future(follow(i, request)) for i, request in enumerate(requests)]
    try:
        running = len(tasks)
        while running:
            index, item, taken = await turns.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
                continue
            yield index, item
            taken.set()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class StreamForm:
    """How a protocol streams: its media type, what it says of a failure, and how it ends."""

    failure: Callable[[Exception], bytes]
    ending: bytes = b""
    media_type: str = "text/event-stream"


OPENAI_STREAM = StreamForm(lambda error: event(envelope(error)), DONE)


async def sse_response(
    request: Request, events: AsyncIterator[bytes], form: StreamForm = OPENAI_STREAM
) -> StreamingResponse:
    """Stream the events; what fails before the first one is raised, later it is an event."""
    first = await while_connected(request, anext(events))

    async def body() -> AsyncIterator[bytes]:
        try:
            yield first
            async for item in events:
                yield item
        except Exception as error:
            if status_of(error) == 500:
                logger.exception("a stream failed")
            yield form.failure(error)
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        if form.ending:
            yield form.ending

    return StreamingResponse(body(), media_type=form.media_type)
