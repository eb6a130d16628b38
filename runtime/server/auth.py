"""Bearer tokens, for HTTP and websockets alike."""

from __future__ import annotations

import hmac

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import RequestError
from .errors import envelope

OPEN_PATHS = ("/health", "/health_generate", "/ready", "/metrics")


class BearerAuth:
    """Lets a request through if it has the key, compared in constant time.

    Args:
        app: what it protects.
        api_key: the secret.
    """

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            error = RequestError(
                "the API key is missing or wrong", status=401, code="invalid_api_key"
            )
            await JSONResponse(envelope(error), 401)(scope, receive, send)
