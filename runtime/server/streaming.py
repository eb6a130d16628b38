"""Server-sent events, streams merged, and clients that leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import RequestError
from ..text.generation import Generation
from ..text.tokenizer_manager import GenerateInput, TokenizerManager
from .errors import Envelope, error_response, openai_envelope, status_of

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


class Connected:
    """``async with``: what runs inside is cancelled when the client goes away.

    One task waits for that; what runs inside stays in the task of its request. (A task of its own
    and ``asyncio.wait`` cost a short request a tenth of its time.)

    Raises:
        ClientLeftError: it has gone.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_left = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._others = task.cancelling()  # of the request itself, which are not for us
        self._gone = asyncio.ensure_future(self._disconnect())

    async def _disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._gone.cancel()
        if self._has_left and self._task.uncancel() <= self._others:
            if kind is asyncio.CancelledError:
                raise ClientLeftError from error


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client goes away.

    Raises:
        ClientLeftError: it has gone.
    """
    async with Connected(request.receive):
        return await work


async def merge(
    manager: TokenizerManager, requests: Sequence[GenerateInput]
) -> AsyncGenerator[tuple[int, Generation], None]:
    """(index, generation) of several requests as they grow; leaving aborts them all."""
    if len(requests) == 1:
        stream = manager.stream(requests[0])
        try:
            async for generation in stream:
                yield 0, generation
        finally:
            await stream.aclose()
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
    """How a protocol streams.

    ``envelope`` is what it says of a failure, and ``failure`` the same inside of a stream.
    """

    envelope: Envelope
    failure: Callable[[dict[str, Any]], bytes]
    ending: bytes = b""
    content_type: bytes = b"text/event-stream; charset=utf-8"


OPENAI_STREAM = StreamForm(openai_envelope, event, DONE)


class EventStream(Response):
    """Sends events as they come, until its client goes away.

    What fails before the first event is answered with the status of the error; what fails later
    is an event. Leaner than starlette's StreamingResponse, which has a task group.

    Args:
        events: what is sent; closed when the client leaves.
        form: of the protocol.
    """

    def __init__(
        self, events: AsyncGenerator[bytes, None], form: StreamForm = OPENAI_STREAM
    ) -> None:
        self.raw_headers = [(b"content-type", form.content_type)]  # all that Response would set
        self._events = events
        self._form = form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with Connected(receive):
                try:
                    first = await anext(self._events)
                except Exception as error:
                    refusal = error_response(Request(scope), error, self._form.envelope)
                    await refusal(scope, receive, send)
                    return
                await self._send(first, send)
        except ClientLeftError:
            logger.debug("the client of a stream has left")
        finally:
            await self._events.aclose()

    async def _send(self, first: bytes, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        try:
            async for item in self._events:
                await send({"type": "http.response.body", "body": item, "more_body": True})
        except Exception as error:
            if status_of(error) == 500:
                logger.exception("a stream failed")
            failure = self._form.failure(self._form.envelope(error))
            await send({"type": "http.response.body", "body": failure, "more_body": True})
        await send({"type": "http.response.body", "body": self._form.ending})
