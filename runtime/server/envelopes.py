"""Refusals outside of the routes (keys, limits, unknown paths), in their protocol's own shape."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from ..errors import RequestError
from .anthropic_events import anthropic_envelope
from .errors import Envelope, error_response, openai_envelope
from .ollama_answers import ollama_envelope


def refusal(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error outside of the routes; starlette's own are of unknown paths."""
    headers = error.headers if isinstance(error, HTTPException) else None
    if isinstance(error, HTTPException):
        message = f"{request.method} {request.url.path}: {error.detail}"
        error = RequestError(message, status=error.status_code)
    response = error_response(request, error, envelope_of(request.url.path))
    response.headers.update(headers or {})  # Allow, where the method is wrong
    return response


def envelope_of(path: str) -> Envelope:
    """What the clients of a path expect an error to look like."""
    if path.startswith("/v1/messages"):
        return anthropic_envelope
    return ollama_envelope if path.startswith("/api/") else openai_envelope
