"""Health, and what the model and the server are, over an echoing scheduler."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from sglang_lang.runtime.errors import EngineDeadError
from tests.runtime.text.echo import Side

JSON = dict[str, Any]


async def test_a_dead_scheduler_is_503_everywhere(client: httpx.AsyncClient, side: Side) -> None:
    running = asyncio.ensure_future(client.post("/generate", json={"text": "hang"}))
    await side.until_hanging(1)
    assert (await client.get("/health")).status_code == 200
    side.manager.detach(EngineDeadError("the scheduler died"))
    assert (await running).status_code == 503
    for path in ("/health", "/health_generate", "/server_info"):
        assert (await client.get(path)).status_code == 503
    refused = await client.post("/generate", json={"text": "x"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"]


async def test_keys_are_asked_for_but_not_by_health(connect: Any) -> None:
    async with connect(api_key=("s3cret",)) as client:
        refused = await client.post("/generate", json={"text": "x"})
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get("/health")).status_code == 200
        headers = {"Authorization": "Bearer s3cret"}
        allowed = await client.post("/generate", json={"text": "x"}, headers=headers)
        assert allowed.status_code == 200
        info = (await client.get("/server_info", headers=headers)).text
        assert "s3cret" not in info
