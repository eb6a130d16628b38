"""Routes of one file, with what is known of them for the OpenAPI page.

Plain starlette routes beneath: nothing is injected or converted, since bodies are read by
``bodies.read``, and matching a path costs microseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .errors import Envelope, error_response, openai_envelope

Endpoint = Callable[..., Awaitable[Response]]
E = TypeVar("E", bound=Endpoint)


@dataclass(frozen=True, slots=True)
class Operation:
    """One path with its methods.

    ``body`` is the JSON it takes, ``query`` the query parameters (name -> description).
    """

    path: str
    methods: tuple[str, ...]
    endpoint: Endpoint
    envelope: Envelope
    body: type[msgspec.Struct] | None
    query: dict[str, str]

    def route(self) -> Route:
        return Route(self.path, _Answering(self), methods=self.methods)


@dataclass(frozen=True, slots=True)
class _Answering:
    """An operation as an ASGI application, which starlette calls without layers of its own.

    Errors that leave the endpoint are answered in the protocol's own shape.
    """

    operation: Operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self.operation.endpoint(request, **scope["path_params"])
        except Exception as error:
            response = error_response(request, error, self.operation.envelope)
        await response(scope, receive, send)


class Routes:
    """Collects a file's endpoints, which take the request and the parameters of their path.

    Args:
        envelope: the shape of errors.
    """

    def __init__(self, envelope: Envelope = openai_envelope) -> None:
        self.operations: list[Operation] = []
        self._envelope = envelope

    def get(self, path: str, **known: Any) -> Callable[[E], E]:
        return self.api_route(path, ["GET"], **known)

    def post(self, path: str, **known: Any) -> Callable[[E], E]:
        return self.api_route(path, ["POST"], **known)

    def delete(self, path: str, **known: Any) -> Callable[[E], E]:
        return self.api_route(path, ["DELETE"], **known)

    def api_route(
        self,
        path: str,
        methods: Sequence[str],
        *,
        body: type[msgspec.Struct] | None = None,
        query: dict[str, str] | None = None,
    ) -> Callable[[E], E]:
        """Decorates an endpoint; may be repeated for other paths."""

        def add(endpoint: E) -> E:
            self.operations.append(
                Operation(path, tuple(methods), endpoint, self._envelope, body, query or {})
            )
            return endpoint

        return add
