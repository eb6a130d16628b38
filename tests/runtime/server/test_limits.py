"""Bodies, rates and concurrency that are refused, and what stays open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from sglang_lang.runtime.server.limits import MOST_CLIENTS, Client, ClientLimits
from tests.runtime.text.echo import Side

from .conftest import Connect

BODY = {"text": "x"}


async def test_a_body_that_says_it_is_too_large_is_413(connect: Connect) -> None:
    async with connect(max_body_size=100) as client:
        response = await client.post("/v1/completions", json={"prompt": "x" * 101})
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"
        assert (await client.post("/generate", json=BODY)).status_code == 200


async def test_a_body_that_grows_too_large_is_413(connect: Connect) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10

    async with connect(max_body_size=100) as client:
        response = await client.post("/generate", content=chunks())
    assert response.status_code == 413


async def test_each_key_has_its_own_rate(connect: Connect) -> None:
    async with connect(api_key=("one", "two"), rate_limit=2) as client:

        async def post(key: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}"}
            return await client.post("/generate", json=BODY, headers=headers)

        assert [(await post("one")).status_code for _ in range(3)] == [200, 200, 429]
        assert (await post("two")).status_code == 200
        refused = await post("one")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert (await client.get("/health")).status_code == 200


async def test_a_refusal_has_the_shape_of_its_protocol(connect: Connect) -> None:
    async with connect(rate_limit=1) as client:
        await client.get("/v1/models")
        anthropic = await client.post("/v1/messages", headers={"x-request-id": "mine"})
        ollama = await client.post("/api/chat")
    assert (anthropic.status_code, ollama.status_code) == (429, 429)
    assert anthropic.json()["error"]["type"] == "rate_limit_error"
    assert anthropic.json()["request_id"] == "mine"
    assert isinstance(ollama.json()["error"], str)


async def test_requests_at_a_time_are_bounded(connect: Connect, side: Side) -> None:
    async with connect(max_concurrent_requests=1) as client:
        running = asyncio.ensure_future(client.post("/generate", json={"text": "hang"}))
        await side.until_hanging(1)
        assert (await client.post("/generate", json=BODY)).status_code == 429
        side.manager.abort("")
        await running
        assert (await client.post("/generate", json=BODY)).status_code == 200


def test_a_minutes_requests_come_back_over_a_minute() -> None:
    limits = ClientLimits(per_minute=60, concurrent=None)
    for _ in range(60):
        assert isinstance(limits.enter("a", 0.0), Client)
    assert limits.enter("a", 0.0) == pytest.approx(1.0)
    assert limits.enter("a", 0.25) == pytest.approx(0.75)
    assert isinstance(limits.enter("a", 1.0), Client)
    assert isinstance(limits.enter("b", 1.0), Client)


def test_clients_without_number_are_forgotten_again() -> None:
    limits = ClientLimits(per_minute=1, concurrent=None)
    for i in range(MOST_CLIENTS + 1):
        limits.enter(str(i), 0.0)
    assert isinstance(limits.enter("0", 0.0), Client)  # forgotten, so it has a new bucket
    assert isinstance(limits.enter(str(MOST_CLIENTS), 0.0), float)
