"""sglang-router in front of two servers: its contract with workers, held by the real router."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.checkpoints import tiny_checkpoint
from tests.e2e.ports import free_port
from tests.e2e.server import ServerProcess, running_server
from tests.runtime.server.sse import events

pytest.importorskip("sglang_router")
pytestmark = [pytest.mark.slow, pytest.mark.clients]

KEY = "worker-key"
STORY = "Once upon a time there was a fox who had read every book in the forest. " * 3
GREEDY = {"temperature": 0, "max_new_tokens": 4, "ignore_eos": True}


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    folder = str(tiny_checkpoint(tmp_path_factory.mktemp("model"), 1))
    flags = ("--model-path", folder, "--api-key", KEY, "--cpu-threads", "1")
    memory = ("--max-total-tokens", "4096")
    with running_server(*flags, *memory) as one, running_server(*flags, *memory) as two:
        yield [one, two]


@pytest.fixture(scope="module")
def router(
    workers: list[ServerProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    port = free_port()
    log = tmp_path_factory.mktemp("router") / "log"
    command = [sys.executable, "-m", "sglang_router.launch_router", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--prometheus-port", str(free_port())]
    command += ["--worker-urls", *(worker.url for worker in workers), "--api-key", KEY]
    command += ["--policy", "cache_aware", "--worker-startup-check-interval", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as made:
            _wait_ready(made, process, log)
            yield made
    finally:
        process.terminate()
        process.wait(30)


def _wait_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if client.post("/generate", json={"text": "x"}).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def ask(client: httpx.Client, path: str, body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_every_route_that_it_hands_on(router: httpx.Client) -> None:
    native = ask(router, "/generate", {"text": "abc", "sampling_params": GREEDY})
    assert len(native["output_ids"]) == 4
    completion = {"model": "default", "prompt": "abc", "max_tokens": 4, "temperature": 0}
    assert ask(router, "/v1/completions", completion)["choices"][0]["text"] is not None
    chat = {"model": "default", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    assert router.post("/v1/chat/completions", json=chat).status_code in (200, 400)
    embedded = ask(router, "/v1/embeddings", {"model": "default", "input": "abc"})
    assert len(embedded["data"][0]["embedding"]) == 64


def test_streams_come_through(router: httpx.Client) -> None:
    body = {"text": "abc", "sampling_params": GREEDY, "stream": True}
    found = events(router.post("/generate", json=body).text)
    assert found[-1]["meta_info"]["finish_reason"]["type"] == "length"
    completion = {"model": "default", "prompt": "abc", "max_tokens": 4, "stream": True}
    assert events(router.post("/v1/completions", json=completion).text)


def test_it_knows_its_workers_loads(router: httpx.Client, workers: list[ServerProcess]) -> None:
    loads = router.get("/get_loads").json()
    shown = str(loads)
    assert all(worker.url in shown for worker in workers), loads
    assert "-1" not in shown, loads
    assert router.get("/get_model_info").json()["model_path"]


def test_requests_with_one_prefix_go_to_the_worker_that_has_it(router: httpx.Client) -> None:
    ask(router, "/generate", {"text": STORY, "sampling_params": GREEDY})
    for ending in ("It", "He", "So"):
        body = {"text": STORY + ending, "sampling_params": GREEDY}
        assert ask(router, "/generate", body)["meta_info"]["cached_tokens"] > 100


def test_flushing_reaches_every_worker(router: httpx.Client, workers: list[ServerProcess]) -> None:
    assert router.post("/flush_cache").status_code == 200
    headers = {"Authorization": f"Bearer {KEY}"}
    for worker in workers:
        info = httpx.get(f"{worker.url}/server_info", headers=headers).json()
        assert info["internal_states"][0]["num_cached_tokens"] == 0
