"""Exceptions to HTTP: OpenAI's envelope on /v1 routes, SGLang's on the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from ..errors import CapacityError, EngineDeadError, RequestError

logger = logging.getLogger(__name__)

Envelope = Callable[[Exception], dict[str, Any]]

RETRY_AFTER_SECONDS = "1"
_TYPES = {  # of 4xx, but for invalid_request_error, and 5xx, but for server_error
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    499: "request_aborted",
    503: "service_unavailable_error",
}
_CODES = {405: "method_not_supported", 429: "rate_limit_exceeded"}


def status_of(error: Exception) -> int:
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, CapacityError):
        return 429
    if isinstance(error, EngineDeadError):
        return 503
    if isinstance(error, ClientDisconnect):  # before its body was here
        return 499
    return 500


def message_of(error: Exception) -> str:
    """What the client is told: nothing of the insides when the fault is ours."""
    known = isinstance(error, RequestError | CapacityError | EngineDeadError)
    return str(error) if known else "internal error; see the server's log"


def openai_envelope(error: Exception) -> dict[str, Any]:
    """``{"error": {message, type, param, code}}``, as OpenAI's API answers."""
    status = status_of(error)
    usual = "invalid_request_error" if status < 500 else "server_error"
    return {
        "error": {
            "message": message_of(error),
            "type": _TYPES.get(status, usual),
            "param": getattr(error, "param", None),
            "code": getattr(error, "code", None) or _CODES.get(status),
        }
    }


def error_response(
    request: Request, error: Exception, envelope: Envelope = openai_envelope
) -> JSONResponse:
    """The answer to any exception: its status and ``envelope``, and a log line if it is ours."""
    status = status_of(error)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in (429, 503) else None
    return JSONResponse(envelope(error), status, headers)
