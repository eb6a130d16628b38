"""Keys open what they should, over HTTP and websockets, and nothing tells them."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sglang_lang.runtime.server.auth import ApiKeys

from .conftest import Connect


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_any_of_the_keys_opens_in_either_header(connect: Connect) -> None:
    async with connect(api_key=("one", "two")) as client:
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=bearer("three"))).status_code == 401
        for headers in (bearer("one"), bearer("two"), {"x-api-key": "two"}):
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
        for path in ("/health", "/metrics"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/flush_cache", "admin", 200),
        ("/flush_cache", "user", 403),
        ("/flush_cache", "", 401),
        ("/v1/models", "admin", 200),
        ("/v1/models", "user", 200),
        ("/v1/models", "wrong", 401),
    ],
)
async def test_admin_routes_need_the_admin_key(
    connect: Connect, path: str, key: str, status: int
) -> None:
    async with connect(api_key=("user",), admin_api_key="admin") as client:
        response = await client.get(path, headers=bearer(key) if key else {})
    assert response.status_code == status, response.text


async def test_an_admin_key_alone_leaves_the_rest_open(connect: Connect) -> None:
    async with connect(admin_api_key="admin") as client:
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/flush_cache")).status_code == 401


async def test_no_key_is_told(connect: Connect) -> None:
    async with connect(api_key=("s3cret",), admin_api_key="adm1n") as client:
        info = await client.get("/server_info", headers=bearer("adm1n"))
    assert info.status_code == 200
    assert "s3cret" not in info.text and "adm1n" not in info.text


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", {"type": "error", "error": {"type": "authentication_error"}}),
        ("/api/chat", {"error": "the API key is missing or wrong"}),
        ("/v1/models", {"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}),
    ],
)
async def test_a_refusal_has_the_shape_of_its_protocol(
    connect: Connect, path: str, shape: dict[str, Any]
) -> None:
    async with connect(api_key=("k",)) as client:
        answer = (await client.post(path)).json()
    for name, value in shape.items():
        assert answer[name] == value or value.items() <= answer[name].items()


@pytest.mark.parametrize(("key", "first"), [("k", "passed"), ("x", "websocket.close")])
async def test_websockets_need_the_key(key: str, first: str) -> None:
    sent: list[Message] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "passed"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope: dict[str, Any] = {"type": "websocket", "path": "/ws", "headers": headers}
    await ApiKeys(inside, ["k"], None)(scope, receive, send)
    assert sent[0]["type"] == first
