"""Exceptions to HTTP: OpenAI's envelope on /v1 routes, SGLang's on the others."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from ..errors import CapacityError, EngineDeadError, RequestError

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "1"
_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
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


def envelope(error: Exception) -> dict[str, Any]:
    """``{"error": {message, type, param, code}}``, as OpenAI's API answers."""
    status = status_of(error)
    known = isinstance(error, RequestError | CapacityError | EngineDeadError)
    return {
        "error": {
            "message": str(error) if known else "internal error; see the server's log",
            "type": _TYPES.get(status, "server_error"),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None),
        }
    }


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """The handler of every exception that leaves a route."""
    status = status_of(error)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in (429, 503) else None
    return JSONResponse(envelope(error), status, headers)
