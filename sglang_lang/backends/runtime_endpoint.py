"""A runtime behind a URL."""

from __future__ import annotations

import json
import os
import ssl
import weakref
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from ..background import on_background_loop, spawn, wait_for
from ..chat_template import ChatTemplate, fallback_template
from ..errors import BackendError
from .native import NativeBackend

CONNECT_SECONDS = 10.0
# A generation may take long; between two bytes of an answer this is the most.
READ_SECONDS = 600.0
# Shorter than servers keep an idle connection (uvicorn: 5 s), so that none is closed as it is used.
IDLE_SECONDS = 4.0
CLOSE_SECONDS = 1.0
MAX_CONNECTIONS = 1000


class RuntimeEndpoint(NativeBackend):
    """Programs run on the server at ``base_url``.

    Args:
        base_url: such as ``http://127.0.0.1:30000``.
        api_key: sent as a bearer token.
        verify: False, or a file of certificates, for TLS.
        chat_template_name: a template of the registry instead of the model's own.

    Raises:
        BackendError: no runtime answers there.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        verify: bool | str | None = None,
        chat_template_name: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._verify = verify
        self._sessions: dict[int, aiohttp.ClientSession] = {}  # by the process that uses it
        # Also when this object or the interpreter ends without a shutdown.
        self._close = weakref.finalize(self, _close, self._sessions)
        self.model_info: dict[str, Any] = wait_for(self._json("GET", "/get_model_info"))
        self._template = fallback_template(self.model_info, self.base_url, chat_template_name)

    async def open_session(self) -> aiohttp.ClientSession:
        """Connections to the server, for the running event loop."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_SECONDS, ssl=_tls(self._verify)
            ),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy(self.base_url),
        )

    async def _session(self) -> aiohttp.ClientSession:
        """The one of this process: a process that was forked has another event loop."""
        session = self._sessions.get(os.getpid())
        if session is None:
            session = self._sessions[os.getpid()] = await self.open_session()
        if session.closed:
            raise BackendError(f"the endpoint of {self.base_url} was shut down")
        return session

    @property
    def model_name(self) -> str:
        return str(self.model_info.get("served_model_name") or self.model_info.get("model_path"))

    @property
    def chat_template(self) -> ChatTemplate | None:
        return self._template

    @property
    def renders_prompts(self) -> bool:
        return self._template is None

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer of a route of the server."""
        return await self._json("POST", path, body)

    async def _generate(self, request: dict[str, Any]) -> Any:
        return await self._json("POST", "/generate", request)

    async def _stream(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async for answer in self.stream(await self._session(), request):
            yield answer

    async def stream(
        self, session: aiohttp.ClientSession, request: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        """The answers of a streaming /generate; each holds the whole text so far.

        Args:
            session: of the running event loop.
            request: the body.

        Raises:
            BackendError: the server refuses, or breaks off.
        """
        body = {**request, "stream": True}
        try:
            async with session.post(f"{self.base_url}/generate", json=body) as response:
                if response.status != 200:
                    raise await _refusal(response)
                async for line in _lines(response):
                    if line == b"data: [DONE]":
                        return
                    if line.startswith(b"data: "):
                        yield _event(json.loads(line[6:]))
        except aiohttp.ClientError as error:
            raise BackendError(f"{self.base_url} broke off: {_told(error)}") from error
        raise BackendError(f"{self.base_url}/generate ended a stream before its end")

    async def _score_choices(self, request: dict[str, Any]) -> dict[str, Any]:
        scored: dict[str, Any] = await self._json("POST", "/score_choices", request)
        return scored

    async def _render(self, request: dict[str, Any]) -> str:
        return str((await self._json("POST", "/render_chat", request))["text"])

    async def length_of_tokens(self, text: str, count: int, add_special_tokens: bool) -> int:
        body = {"prompt": text, "add_special_tokens": add_special_tokens}
        tokens = (await self._json("POST", "/tokenize", body))["tokens"][count:]
        rest = {"tokens": tokens, "skip_special_tokens": False}
        return len(text) - len((await self._json("POST", "/detokenize", rest))["text"])

    async def count_tokens(self, text: str) -> int:
        body = {"prompt": text, "add_special_tokens": False}
        return int((await self._json("POST", "/tokenize", body))["count"])

    def flush_cache(self) -> None:
        wait_for(self._send("POST", "/flush_cache"))

    def get_server_info(self) -> dict[str, Any]:
        info: dict[str, Any] = wait_for(self._json("GET", "/get_server_info"))
        return info

    def shutdown(self) -> None:
        self._close()

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return json.loads(await self._send(method, path, body))

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        url = self.base_url + path
        session = await self._session()
        try:
            async with session.request(method, url, json=body) as response:
                if response.status != 200:
                    raise await _refusal(response)
                return await response.read()
        except aiohttp.ClientError as error:
            raise BackendError(f"{url} cannot be reached: {_told(error)}") from error


def _told(error: aiohttp.ClientError) -> str:
    return f"{type(error).__name__}: {error}"


def _close(sessions: Mapping[int, aiohttp.ClientSession]) -> None:
    """On whatever thread this happens; at the interpreter's end nothing happens later."""
    session = sessions.get(os.getpid())
    if session is not None:
        closing = spawn(session.close())
        if not on_background_loop():
            wait([closing], CLOSE_SECONDS)


def _tls(verify: bool | str | None) -> bool | ssl.SSLContext:
    if not isinstance(verify, str):
        return verify is not False
    path = Path(verify)
    return ssl.create_default_context(
        cafile=None if path.is_dir() else verify, capath=verify if path.is_dir() else None
    )


def _proxy(url: str) -> str | None:
    """What the environment says (HTTP_PROXY, NO_PROXY, ...), looked up once."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Of any length, without their ends."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
    yield rest


def _event(data: dict[str, Any]) -> dict[str, Any]:
    if "error" in data:
        raise BackendError(str(data["error"].get("message", data["error"])))
    return data


async def _refusal(response: aiohttp.ClientResponse) -> BackendError:
    """What the server says where it does not answer 200."""
    text = await response.text(errors="replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text[:500]
    retry_after = response.headers.get("Retry-After", "")
    return BackendError(
        f"{response.url.path} answered {response.status}: {message}",
        status=response.status,
        retry_after=float(retry_after) if retry_after.isdigit() else None,
    )
