"""What one client may ask of the server: bytes in a body, requests at once and a minute."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import RequestError
from .auth import OPEN_PATHS
from .envelopes import refusal

MOST_CLIENTS = 10_000  # remembered, least recently seen forgotten first


@dataclass(slots=True)
class Client:
    """A token bucket that holds a minute's requests, and the requests that are running."""

    tokens: float
    refilled: float
    running: int = 0


class ClientLimits:
    """Counts the requests of each client.

    Args:
        per_minute: requests that a client may make in a minute, at once or spread out.
        concurrent: requests of a client that may run at a time.
    """

    def __init__(self, per_minute: float | None, concurrent: int | None) -> None:
        self._per_minute = per_minute
        self._concurrent = concurrent
        self._clients: OrderedDict[str, Client] = OrderedDict()

    def enter(self, name: str, now: float) -> Client | float:
        """The client, whose ``running`` has grown; or the seconds to wait before trying again."""
        client = self._client(name, now)
        if self._concurrent is not None and client.running >= self._concurrent:
            return 1.0
        if self._per_minute is not None:
            refill = (now - client.refilled) * self._per_minute / 60
            client.tokens = min(client.tokens + refill, self._per_minute)
            client.refilled = now
            if client.tokens < 1:
                return (1 - client.tokens) * 60 / self._per_minute
            client.tokens -= 1
        client.running += 1
        return client

    def _client(self, name: str, now: float) -> Client:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = Client(self._per_minute or 0.0, now)
            if len(self._clients) > MOST_CLIENTS:
                self._clients.popitem(last=False)
        self._clients.move_to_end(name)
        return client


class RequestLimits:
    """Refuses with 413 and 429 before a route is reached, or while it reads the body.

    Args:
        app: what it protects.
        max_body_size: most bytes of a body.
        clients: limits for each API key, or each address where there are no keys.
    """

    def __init__(self, app: ASGIApp, max_body_size: int, clients: ClientLimits) -> None:
        self._app = app
        self._max_body_size = max_body_size
        self._clients = clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        client = self._clients.enter(_client_name(scope), time.monotonic())
        if not isinstance(client, Client):
            error = RequestError(
                "too many requests; see Retry-After", status=429, code="rate_limit_exceeded"
            )
            response = refusal(Request(scope), error)
            response.headers["retry-after"] = str(math.ceil(client))
            await response(scope, receive, send)
            return
        try:
            await self._app(scope, self._bounded(scope, receive), send)
        finally:
            client.running -= 1

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """``receive`` that raises once the body is too large, at once if it says that it is."""
        most = self._max_body_size
        announced = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        size = 0

        async def bounded() -> Message:
            nonlocal size
            if size == 0 and announced.isdigit() and int(announced[:20]) > most:
                raise _too_large(most)
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise _too_large(most)
            return message

        return bounded


def _too_large(most: int) -> RequestError:
    return RequestError(f"the body is larger than {most} bytes", status=413, code="body_too_large")


def _client_name(scope: Scope) -> str:
    key = scope.get("client_key")
    if key is not None:
        return str(key)
    address = scope.get("client")
    return str(address[0]) if address else "local"
