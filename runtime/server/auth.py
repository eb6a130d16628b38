"""API keys, for HTTP and websockets alike."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import RequestError
from .envelopes import refusal

OPEN_PATHS = ("/", "/health", "/health_generate", "/ready", "/metrics")
OPEN_FOLDER = "/playground/"  # plain files, which ask for the key themselves

# What changes the server, or ends other people's requests. With an admin key only it may.
ADMIN_PATHS = frozenset(
    {
        "/abort_request",
        "/close_session",
        "/continue_generation",
        "/flush_cache",
        "/open_session",
        "/pause_generation",
        "/pin_prefix",
        "/radix_tree",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/start_profile",
        "/stop_profile",
        "/unpin_prefix",
        "/update_weights_from_disk",
    }
)


class ApiKeys:
    """Lets a request through if it has a key, as bearer token or in ``x-api-key`` (Anthropic's).

    Keys are compared in constant time, all of them for every request. ``scope["client_key"]``
    tells the layers inside who it is, by a digest of the key and never the key.

    Args:
        app: what it protects.
        api_keys: any of them opens the ordinary routes; without one these are open.
        admin_key: opens everything; without it any of the others does.
    """

    def __init__(self, app: ASGIApp, api_keys: Sequence[str], admin_key: str | None) -> None:
        self._app = app
        self._keys = [key.encode() for key in api_keys]
        self._admin_key = None if admin_key is None else admin_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = _given_key(HTTPConnection(scope))
        error = self._refusal(scope["path"], given)
        if error is None:
            if given:
                scope["client_key"] = hashlib.sha256(given).hexdigest()
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(Request(scope), error)(scope, receive, send)

    def _refusal(self, path: str, given: bytes) -> RequestError | None:
        is_admin = self._admin_key is not None and hmac.compare_digest(given, self._admin_key)
        is_client = sum(hmac.compare_digest(given, key) for key in self._keys) > 0
        if is_admin:
            return None
        if path in ADMIN_PATHS and self._admin_key is not None:
            if is_client:
                return RequestError(f"{path} needs the admin key", status=403, code="admin_only")
        elif is_client or not self._keys:
            return None
        return RequestError("the API key is missing or wrong", status=401, code="invalid_api_key")


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def _given_key(connection: HTTPConnection) -> bytes:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode()
    return connection.headers.get("x-api-key", "").encode()
