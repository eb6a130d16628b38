"""Flushing, aborting and pausing over an echoing scheduler."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.runtime.text.echo import Side

JSON = dict[str, Any]


async def test_abort_request_ends_what_it_names(client: httpx.AsyncClient, side: Side) -> None:
    running = asyncio.ensure_future(client.post("/generate", json={"text": "hang", "rid": "r-1"}))
    await side.until_hanging(1)
    refused = await client.post("/abort_request", json={"rid": None})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "rid"
    await client.post("/abort_request", json={"rid": "r-"})
    response = await running
    assert response.status_code == 499
    assert response.json()["error"]["code"] == "request_aborted"
