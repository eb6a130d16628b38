"""Files and batches over an echoing scheduler."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.errors import EngineDeadError, ServerArgsError
from sglang_lang.runtime.server.app import create_app
from sglang_lang.runtime.server.context import ServerContext
from sglang_lang.runtime.server.openai.job_database import JobDatabase
from sglang_lang.runtime.server_args import ServerArgs
from tests.runtime.server.conftest import CONFIG
from tests.runtime.text.echo import Side

JSON = dict[str, Any]


class App:
    """An application whose files lie in ``folder``, with its lifespan; use as ``async with``."""

    def __init__(self, side: Side, folder: Path) -> None:
        context = ServerContext(ServerArgs(files_dir=str(folder)), side.manager, CONFIG, "echo")
        self._app = create_app(context)
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def __aenter__(self) -> httpx.AsyncClient:
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()
        return self.client

    async def __aexit__(self, *error: Any) -> None:
        await self._lifespan.__aexit__(*error)
        await self.client.aclose()


def line(custom_id: str, prompt: str, url: str = "/v1/completions", **fields: Any) -> JSON:
    body = {"prompt": prompt, "max_tokens": 50, **fields}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


async def upload(client: httpx.AsyncClient, *lines: Any) -> str:
    content = "\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines)
    response = await client.post(
        "/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}
    )
    assert response.status_code == 200, response.text
    assert response.json()["bytes"] == len(content.encode())
    file_id: str = response.json()["id"]
    return file_id


async def start(client: httpx.AsyncClient, *lines: Any, endpoint: str = "/v1/completions") -> str:
    file_id = await upload(client, *lines)
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}
    response = await client.post("/v1/batches", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "validating"
    batch_id: str = response.json()["id"]
    return batch_id


async def ended(client: httpx.AsyncClient, batch_id: str) -> JSON:
    while True:
        batch: JSON = (await client.get(f"/v1/batches/{batch_id}")).json()
        if batch["status"] in ("completed", "failed", "cancelled", "expired"):
            return batch
        await asyncio.sleep(0.005)


async def output(client: httpx.AsyncClient, file_id: str) -> dict[str, JSON]:
    text = (await client.get(f"/v1/files/{file_id}/content")).text
    return {entry["custom_id"]: entry for entry in map(json.loads, text.splitlines())}


async def test_a_batch_answers_every_line(side: Side, tmp_path: Path) -> None:
    async with App(side, tmp_path) as client:
        lines = [line(f"l{i}", f"text {i}") for i in range(40)]
        lines += [line("bad", "x", top_p=7), line("alien", "x", model="gpt-9")]
        batch = await ended(client, await start(client, *lines))
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": 42, "completed": 40, "failed": 2}
        answers = await output(client, batch["output_file_id"])
        assert list(answers) == [f"l{i}" for i in range(40)]
        for i in range(40):
            response = answers[f"l{i}"]["response"]
            assert response["status_code"] == 200
            assert response["body"]["choices"][0]["text"] == f"text {i}"
        errors = await output(client, batch["error_file_id"])
        assert errors["bad"]["response"]["body"]["error"]["param"] == "top_p"
        assert errors["alien"]["response"]["status_code"] == 404
        assert {request.priority for request in side.scheduler.requests} == {-100}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/embeddings", {"input": "ab"}),
        ("/v1/responses", {"input": "ab"}),
    ],
)
async def test_every_endpoint_can_be_batched(
    side: Side, tmp_path: Path, endpoint: str, body: JSON
) -> None:
    async with App(side, tmp_path) as client:
        one = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
        batch = await ended(client, await start(client, one, endpoint=endpoint))
        answer = (await output(client, batch["output_file_id"]))["a"]["response"]
        assert answer["status_code"] == 200 and answer["body"]["object"]


async def test_a_restart_goes_on_where_the_server_stopped(side: Side, tmp_path: Path) -> None:
    async with App(side, tmp_path) as client:
        lines = [line("first", "done"), line("second", "hang here")]
        batch_id = await start(client, *lines)
        await side.until_hanging(2)
        while (await client.get(f"/v1/batches/{batch_id}")).json()["request_counts"][
            "completed"
        ] < 1:
            await asyncio.sleep(0.005)
    asked_before = len(side.scheduler.requests)
    async with Side() as other, App(other, tmp_path) as client:
        await other.until_hanging(1)
        assert [bytes(r.input_ids) for r in other.scheduler.requests] == [b"hang here"]
        batch = (await client.get(f"/v1/batches/{batch_id}")).json()
        assert batch["status"] == "in_progress"
        cancelled = await client.post(f"/v1/batches/{batch_id}/cancel")
        assert cancelled.json()["status"] == "cancelling"
        batch = await ended(client, batch_id)
        assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 1)
        assert list(await output(client, batch["output_file_id"])) == ["first"]
        assert batch["error_file_id"] is None
    assert asked_before == 2


async def test_a_dead_scheduler_is_waited_for(
    side: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sglang_lang.runtime.server.openai.batch_runner.RETRY_SECONDS", 0.001)
    async with App(side, tmp_path) as client:
        ready = side.manager.ready
        assert ready is not None
        side.manager.detach(EngineDeadError("died"))
        batch_id = await start(client, line("a", "abc"))
        while (await client.get(f"/v1/batches/{batch_id}")).json()["status"] == "validating":
            await asyncio.sleep(0.005)
        side.manager.attach(side.scheduler, ready)
        assert (await ended(client, batch_id))["request_counts"]["completed"] == 1


WRONG_FILES: list[tuple[list[Any], str]] = [
    ([], "empty_file"),
    (["{not json"], "invalid_json_line"),
    ([{"custom_id": "a"}], "invalid_json_line"),
    ([line("a", "x"), line("a", "y")], "duplicate_custom_id"),
    ([line("a", "x", url="/v1/embeddings")], "mismatched_url"),
    ([line("a", "x") | {"method": "GET"}], "invalid_method"),
]


@pytest.mark.parametrize(("lines", "code"), WRONG_FILES, ids=lambda value: str(value)[:30])
async def test_a_wrong_file_fails_the_batch_and_says_why(
    side: Side, tmp_path: Path, lines: list[Any], code: str
) -> None:
    async with App(side, tmp_path) as client:
        batch = await ended(client, await start(client, *lines))
        assert batch["status"] == "failed"
        assert batch["errors"]["data"][0]["code"] == code
        assert not side.scheduler.requests


async def test_files_are_listed_in_pages_and_deleted(side: Side, tmp_path: Path) -> None:
    async with App(side, tmp_path) as client:
        ids = [await upload(client, line("a", "x")) for _ in range(3)]
        first = (await client.get("/v1/files", params={"limit": 2})).json()
        assert [file["id"] for file in first["data"]] == ids[:0:-1] and first["has_more"]
        after = {"after": first["last_id"]}
        rest = (await client.get("/v1/files", params=after)).json()
        assert [file["id"] for file in rest["data"]] == ids[:1] and not rest["has_more"]
        assert (await client.delete(f"/v1/files/{ids[0]}")).json()["deleted"]
        assert (await client.get(f"/v1/files/{ids[0]}")).status_code == 404
        assert (await client.get(f"/v1/files/{ids[0]}/content")).status_code == 404
        batches = (await client.get("/v1/batches")).json()
        assert batches["data"] == [] and batches["first_id"] is None


async def test_wrong_requests_are_refused_by_name(side: Side, tmp_path: Path) -> None:
    async with App(side, tmp_path) as client:
        file_id = await upload(client, line("a", "x"))
        good = {"input_file_id": file_id, "endpoint": "/v1/completions"}
        for change, param in (
            ({"endpoint": "/v1/images"}, "endpoint"),
            ({"completion_window": "1h"}, "completion_window"),
            ({"input_file_id": "file-none"}, "input_file_id"),
        ):
            response = await client.post("/v1/batches", json=good | change)
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
        assert (await client.get("/v1/batches/none")).status_code == 404
        for files, data, param in (
            ({"file": ("a", "x")}, {"purpose": "vision"}, "purpose"),
            ({"other": ("a", "x")}, {"purpose": "batch"}, "file"),
        ):
            response = await client.post("/v1/files", files=files, data=data)
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
        assert (await client.get("/v1/files?limit=0")).status_code == 400
        assert (await client.get("/v1/files?after=x")).status_code == 400


def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    first = JobDatabase(tmp_path)
    with pytest.raises(ServerArgsError, match="another server"):
        JobDatabase(tmp_path)
    first.close()
    JobDatabase(tmp_path).close()
