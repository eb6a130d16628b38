"""The outermost layer: request ids, counts, the access log, and answers to what goes wrong inside.

It sees every HTTP request, also those that another layer refuses.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable
from secrets import token_hex

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import logs
from ..request_context import HttpRequest, working_for
from .envelopes import refusal
from .http_stats import HttpStats

logger = logging.getLogger(__name__)

HEADER = "x-request-id"
RAW_HEADER = HEADER.encode()
ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}")  # another id is replaced, not repeated to logs
CLIENT_LEFT = 499


class HttpObserver:
    """Wraps an application.

    Args:
        app: what it observes.
        stats: counts the requests.
        log_requests: write a line for each.
    """

    def __init__(self, app: ASGIApp, stats: HttpStats, log_requests: bool) -> None:
        self._app = app
        self._stats = stats
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request = _http_request(scope)
        with working_for(request):
            if scope["type"] == "http":
                await self._observe(scope, receive, _Exchange(send, request.id))
            else:
                await self._app(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        self._stats.active += 1
        begin = time.perf_counter()
        try:
            await self._app(scope, receive, exchange.send)
        except Exception as error:
            if exchange.started:
                raise  # the server can only cut the connection
            response = refusal(Request(scope), error)
            await response(scope, receive, exchange.send)
        finally:
            self._stats.active -= 1
            status = exchange.status if exchange.complete else CLIENT_LEFT
            self._stats.count(scope, status)
            if self._log_requests:
                self._log(scope, status, time.perf_counter() - begin)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        logs.event(
            logger,
            f"{scope['method']} {scope['path']}",
            status=status,
            seconds=round(seconds, 6),
            client=scope["client"][0] if scope.get("client") else None,
        )


class _Exchange:
    """The response on its way out."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.started = False
        self.complete = False
        self.status = 500

    def send(self, message: Message) -> Awaitable[None]:
        """Not a coroutine itself: most messages are a token of a stream and pass as they are."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message["headers"] = [*message["headers"], (RAW_HEADER, self._request_id.encode())]
        elif not message.get("more_body", False):
            self.complete = True
        return self._send(message)


def _http_request(scope: Scope) -> HttpRequest:
    """With the client's id, or a new one."""
    request_id = traceparent = ""
    for name, value in scope["headers"]:
        if name == RAW_HEADER:
            request_id = value.decode("latin-1")
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
    if not ACCEPTABLE.fullmatch(request_id):
        request_id = token_hex(16)
    return HttpRequest(request_id, traceparent or None)
