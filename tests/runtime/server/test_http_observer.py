"""Request ids, the access log, CORS, and errors nobody expected."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from sglang_lang.runtime import logs
from tests.runtime.text.echo import Side

from .conftest import Connect


async def test_a_clients_request_id_comes_back(connect: Connect) -> None:
    async with connect() as client:
        given = await client.get("/health", headers={"x-request-id": "abc-123"})
        assert given.headers["x-request-id"] == "abc-123"
        made = [(await client.get("/health")).headers["x-request-id"] for _ in range(2)]
        assert len(set(made)) == 2 and all(len(one) == 32 for one in made)
        refused = await client.get("/nowhere", headers={"x-request-id": "r"})
        assert (refused.status_code, refused.headers["x-request-id"]) == (404, "r")


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129])
async def test_an_id_that_would_break_a_log_line_is_replaced(connect: Connect, bad: str) -> None:
    async with connect() as client:
        response = await client.get("/health", headers={"x-request-id": bad})
    assert response.headers["x-request-id"] != bad


async def test_a_failure_of_ours_is_a_500_in_the_envelope(
    connect: Connect, side: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("inner detail")

    monkeypatch.setattr(side.manager, "generate_all", broken)
    async with connect() as client:
        response = await client.post("/generate", json={"text": "x"})
        counted = (await client.get("/metrics")).text
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "inner detail" not in response.text
    assert "x-request-id" in response.headers
    assert "ZeroDivisionError" in caplog.text
    assert 'endpoint="/generate",method="POST",model_name="echo",status_code="500"' in counted


async def test_the_access_log_has_the_id(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(logs.JsonFormatter())
    with caplog.at_level(logging.INFO, "sglang_lang.runtime.server.http_observer"):
        async with connect(log_requests=True) as client:
            await client.get("/health", headers={"x-request-id": "mine"})
            await client.get("/nowhere?key=secret")
    first, second = (json.loads(line) for line in caplog.text.splitlines())
    assert (first["message"], first["status"], first["request_id"]) == ("GET /health", 200, "mine")
    assert (second["message"], second["status"]) == ("GET /nowhere", 404)


async def test_cors_is_off_unless_asked(connect: Connect) -> None:
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    async with connect() as client:
        response = await client.options("/v1/models", headers=headers)
        assert "access-control-allow-origin" not in response.headers
    async with connect(cors_origins=("https://a.example",), api_key=("k",)) as client:
        response = await client.options("/v1/models", headers=headers)
        assert response.headers["access-control-allow-origin"] == "https://a.example"
        headers["Origin"] = "https://b.example"
        response = await client.options("/v1/models", headers=headers)
        assert "access-control-allow-origin" not in response.headers
