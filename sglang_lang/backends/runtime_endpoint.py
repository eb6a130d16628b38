"""A runtime behind a URL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from ..background import wait_for
from ..chat_template import ChatTemplate, fallback_template
from ..errors import BackendError
from .native import NativeBackend

CONNECT_SECONDS = 10.0
# A generation may take long; between two bytes of an answer this is the most.
READ_SECONDS = 600.0
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
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            headers=self.headers,
            verify=True if verify is None else verify,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
        )
        self.model_info: dict[str, Any] = wait_for(self._json("GET", "/get_model_info"))
        self._template = fallback_template(self.model_info, self.base_url, chat_template_name)

    @property
    def model_name(self) -> str:
        return str(self.model_info.get("served_model_name") or self.model_info.get("model_path"))

    @property
    def chat_template(self) -> ChatTemplate | None:
        return self._template

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer of a route of the server."""
        return await self._json("POST", path, body)

    async def _generate(self, request: dict[str, Any]) -> Any:
        return await self.post("/generate", request)

    async def _stream(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Each response holds the whole text so far."""
        body = {**request, "stream": True}
        try:
            async with self._client.stream("POST", "/generate", json=body) as response:
                async for answer in events_of(response):
                    yield answer
        except httpx.TransportError as error:
            raise BackendError(f"{self.base_url} broke off: {error!r}") from error

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
        wait_for(self._send("POST", "/flush_cache", None))

    def get_server_info(self) -> dict[str, Any]:
        info: dict[str, Any] = wait_for(self._json("GET", "/get_server_info"))
        return info

    def shutdown(self) -> None:
        wait_for(self._client.aclose())

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return (await self._send(method, path, body)).json()

    async def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise BackendError(f"{self.base_url}{path} cannot be reached: {error!r}") from error
        if response.status_code != 200:
            raise _refusal(response)
        return response


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The answers of a streaming /generate; BackendError if it refuses or breaks off."""
    if response.status_code != 200:
        await response.aread()
        raise _refusal(response)
    async for line in response.aiter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield _event(json.loads(line[6:]))
    raise BackendError(f"{response.request.url} ended a stream before its end")


def _event(data: dict[str, Any]) -> dict[str, Any]:
    if "error" in data:
        raise BackendError(str(data["error"].get("message", data["error"])))
    return data


def _refusal(response: httpx.Response) -> BackendError:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text[:500]
    retry_after = response.headers.get("Retry-After", "")
    return BackendError(
        f"{response.request.url.path} answered {response.status_code}: {message}",
        status=response.status_code,
        retry_after=float(retry_after) if retry_after.isdigit() else None,
    )
