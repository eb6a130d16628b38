"""What an operator does to a running server: weights, memory, pauses, profiles; tiny models."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.server.sse import events

from .checkpoints import tiny_checkpoint
from .server import ServerProcess, running_server

pytestmark = pytest.mark.slow
JSON = dict[str, Any]
ASK: JSON = {
    "text": "Once upon a time",
    "sampling_params": {"temperature": 0, "max_new_tokens": 8, "ignore_eos": True},
}
LONG: JSON = ASK | {"sampling_params": ASK["sampling_params"] | {"max_new_tokens": 400}}
KEY, ADMIN_KEY = "client", "operator"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models of one shape, and one of another."""
    made = {
        name: tiny_checkpoint(tmp_path_factory.mktemp(name), seed, size)
        for name, seed, size in (("one", 1, 64), ("two", 2, 64), ("wide", 3, 128))
    }
    (broken := tmp_path_factory.mktemp("broken")).joinpath("config.json").write_text("{}")
    return made | {"broken": broken}


@pytest.fixture(scope="module")
def server(folders: dict[str, Path]) -> Iterator[ServerProcess]:
    flags = ("--model-path", str(folders["one"]), "--dtype", "float32", "--cpu-threads", "1")
    keys = ("--api-key", KEY, "--admin-api-key", ADMIN_KEY)
    with running_server(*flags, *keys, "--max-total-tokens", "4096") as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as made:
        yield made


def ask(client: httpx.Client, path: str, body: Any = None) -> httpx.Response:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response


def output(client: httpx.Client) -> list[int]:
    ids: list[int] = ask(client, "/generate", ASK).json()["output_ids"]
    return ids


def update(client: httpx.Client, folder: Path, **fields: Any) -> httpx.Response:
    body = {"model_path": str(folder), **fields}
    return client.post("/update_weights_from_disk", json=body)


async def running(client: httpx.AsyncClient, count: int) -> None:
    """Wait until so many requests run."""
    for _ in range(600):
        state = (await client.get("/server_info")).json()["internal_states"][0]
        if state["num_running_reqs"] == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(state)


def test_an_admins_routes_need_the_admins_key(server: ServerProcess) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    for path in ("/pause_generation", "/update_weights_from_disk", "/start_profile"):
        response = httpx.post(f"{server.url}{path}", json={"model_path": "x"}, headers=headers)
        assert response.status_code == 403, path


def test_new_weights_are_served_and_the_old_ones_come_back(
    client: httpx.Client, folders: dict[str, Path]
) -> None:
    before = output(client)
    answer = update(client, folders["two"], weight_version="v2").json()
    assert answer["success"], answer
    after = output(client)
    assert after != before
    assert client.get("/model_info").json()["weight_version"] == "v2"
    meta = ask(client, "/generate", ASK).json()["meta_info"]
    assert meta["weight_version"] == "v2"
    assert update(client, folders["one"], weight_version="v1").json()["success"]
    assert output(client) == before


@pytest.mark.parametrize("name", ["wide", "broken", "missing"])
def test_weights_that_do_not_fit_change_nothing(
    client: httpx.Client, folders: dict[str, Path], name: str
) -> None:
    before = output(client)
    response = update(client, folders.get(name, Path("nowhere")))
    assert response.status_code == 400
    answer = response.json()
    assert not answer["success"] and answer["message"]
    assert output(client) == before


@pytest.mark.parametrize("abort", [False, True])
async def test_running_requests_finish_or_are_aborted_before_the_weights_change(
    server: ServerProcess, folders: dict[str, Path], abort: bool
) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        whole = (await client.post("/generate", json=LONG)).json()["output_ids"]
        request = asyncio.ensure_future(client.post("/generate", json=LONG))
        await running(client, 1)
        body = {"model_path": str(folders["two"]), "abort_all_requests": abort}
        changed = await client.post("/update_weights_from_disk", json=body)
        assert changed.json()["success"], changed.text
        response = await request
        if abort:
            assert response.status_code == 499
        else:
            assert response.json()["output_ids"] == whole
        body = {"model_path": str(folders["one"])}
        assert (await client.post("/update_weights_from_disk", json=body)).json()["success"]


async def test_a_pause_holds_everything_until_it_ends(server: ServerProcess) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        whole = (await client.post("/generate", json=LONG)).json()["output_ids"]
        request = asyncio.ensure_future(client.post("/generate", json=LONG))
        await running(client, 1)
        await client.post("/pause_generation", json={"mode": "retract"})
        state = (await client.get("/server_info")).json()["internal_states"][0]
        assert (state["num_running_reqs"], state["num_queue_reqs"]) == (0, 1)
        assert (await client.post("/flush_cache")).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert not request.done()
        await client.post("/continue_generation")
        assert (await request).json()["output_ids"] == whole


def test_memory_is_given_back_and_taken_again(client: httpx.Client, server: ServerProcess) -> None:
    before = output(client)
    ask(client, "/release_memory_occupation", {"tags": ["kv_cache", "weights"]})
    ask(client, "/resume_memory_occupation")
    assert output(client) == before
    refused = client.post("/release_memory_occupation", json={"tags": ["soul"]})
    assert refused.status_code == 400


def test_a_profile_is_a_trace_of_the_models_operators(client: httpx.Client, tmp_path: Path) -> None:
    wanted = {"output_dir": str(tmp_path), "profile_prefix": "p", "record_shapes": True}
    trace = ask(client, "/start_profile", wanted).json()["trace"]
    assert client.post("/start_profile", json=wanted).status_code == 400
    output(client)
    assert ask(client, "/stop_profile").json()["trace"] == trace
    with gzip.open(trace, "rt") as file:
        names = {event.get("name", "") for event in json.load(file)["traceEvents"]}
    assert any(name.startswith("aten::") for name in names)
    assert client.post("/stop_profile").status_code == 400


def test_a_flush_may_wait_for_what_runs(client: httpx.Client) -> None:
    with client.stream("POST", "/generate", json=LONG | {"stream": True}) as stream:
        lines = stream.iter_lines()
        first = next(lines)
        assert client.post("/flush_cache").status_code == 400
        assert client.post("/flush_cache?timeout=60").status_code == 200
        found = events("\n".join([first, *lines]))
    assert found[-1]["meta_info"]["finish_reason"]["type"] == "length"
    assert client.post("/flush_cache?timeout=soon").status_code == 400


def test_a_restarted_scheduler_has_the_new_weights(
    client: httpx.Client, server: ServerProcess, folders: dict[str, Path]
) -> None:
    assert update(client, folders["two"]).json()["success"]
    after = output(client)
    os.kill(server.scheduler_pid(), signal.SIGKILL)
    while server.is_healthy():
        pass
    server.wait_healthy(30)
    assert output(client) == after
