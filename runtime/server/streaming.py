"""Server-sent events, streams merged, and clients that leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import RequestError
from ..text.generation import Generation
from ..text.tokenizer_manager import GenerateInput, TokenizerManager
from .errors import openai_envelope, status_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


def event(data: Any) -> bytes:
    return b"data: " + _encode(data) + b"\n\n"


def json_response(data: Any, status: int = 200) -> Response:
    return Response(_encode(data), status, media_type="application/json")


class ClientLeftError(RequestError):
    """Status 499, for the log: nobody reads the answer."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection", status=499)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of ``work``; cancels it when the client goes away.

    Raises:
        ClientLeftError: it has gone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


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


OPENAI_STREAM = StreamForm(lambda error: event(openai_envelope(error)), DONE)


async def sse_response(
    request: Request, events: AsyncIterator[bytes], form: StreamForm = OPENAI_STREAM
) -> Response:
    """Stream the events; what fails before the first one is raised, later it is an event."""
    first = await while_connected(request, anext(events))
    return EventStream(first, events, form)


class EventStream(Response):
    """Sends events as they come, until its client goes away.

    Leaner than starlette's StreamingResponse: one task beside the stream's own, and no task group.
    """

    def __init__(self, first: bytes, events: AsyncIterator[bytes], form: StreamForm) -> None:
        super().__init__(media_type=form.media_type)
        del self.headers["content-length"]
        self._first = first
        self._events = events
        self._form = form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            await while_connected(Request(scope, receive), self._send_events(send))
        except ClientLeftError:
            logger.debug("the client of a stream has left")
        finally:
            await self._events.aclose()  # type: ignore[attr-defined]

    async def _send_events(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        try:
            async for item in self._events:
                await send({"type": "http.response.body", "body": item, "more_body": True})
        except Exception as error:
            if status_of(error) == 500:
                logger.exception("a stream failed")
            failure = self._form.failure(error)
            await send({"type": "http.response.body", "body": failure, "more_body": True})
        await send({"type": "http.response.body", "body": self._form.ending})
