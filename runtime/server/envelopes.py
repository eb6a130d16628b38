"""Refusals outside of the routes (keys, limits, unknown paths), in their protocol's own shape."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

from .anthropic_events import anthropic_envelope
from .errors import Envelope, error_response, openai_envelope
from .ollama_answers import ollama_envelope


def refusal(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error outside of the routes."""
    return error_response(request, error, envelope_of(request.url.path))


def envelope_of(path: str) -> Envelope:
    """What the clients of a path expect an error to look like."""
    if path.startswith("/v1/messages"):
        return anthropic_envelope
    return ollama_envelope if path.startswith("/api/") else openai_envelope
