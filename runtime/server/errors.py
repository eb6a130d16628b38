"""Exceptions to HTTP: OpenAI's envelope on /v1 routes, SGLang's on the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from ..errors import CapacityError, EngineDeadError, RequestError

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "1"
_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    499: "request_aborted",
    503: "service_unavailable_error",
}


def status_of(error: Exception) -> int:
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, CapacityError):
        return 429
    if isinstance(error, EngineDeadError):
        return 503
    return 500


def message_of(error: Exception) -> str:
    """What the client is told: nothing of the insides when the fault is ours."""
    known = isinstance(error, RequestError | CapacityError | EngineDeadError)
    return str(error) if known else "internal error; see the server's log"


def envelope(error: Exception) -> dict[str, Any]:
    """``{"error": {message, type, param, code}}``, as OpenAI's API answers."""
    return {
        "error": {
            "message": message_of(error),
            "type": _TYPES.get(status_of(error), "server_error"),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None),
        }
    }


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """The handler of every exception that leaves a route."""
    return error_response(request, error, envelope)


def error_response(
    request: Request, error: Exception, envelope: Callable[[Exception], dict[str, Any]]
) -> JSONResponse:
    status = status_of(error)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in (429, 503) else None
    return JSONResponse(envelope(error), status, headers)


def route_with(envelope: Callable[[Exception], dict[str, Any]]) -> type[APIRoute]:
    """Routes of a protocol that has its own shape of errors."""

    class EnvelopedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    return await handle(request)
                except Exception as error:
                    return error_response(request, error, envelope)

            return guarded

    return EnvelopedRoute
