"""The real server as it is operated: TLS, a unix socket, a configuration file, load, SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families

from sglang_lang.bench.processes import cpu_share, process_tree

from .server import ROOT, ServerProcess, exit_of, running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    # A KV pool that is soon full: its memory is taken as tokens come.
    flags = ("--log-requests", "--log-format", "json", "--max-total-tokens", "4096")
    with running_server(*flags) as started:
        yield started


def wait_listening(address: str | tuple[str, int], process: subprocess.Popen[bytes]) -> None:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    deadline = time.monotonic() + 120
    while True:
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def started(
    transport: httpx.HTTPTransport, url: str, address: str | tuple[str, int], *flags: str
) -> Iterator[httpx.Client]:
    """A server that is reached through ``transport``; it must exit with 0."""
    command = [sys.executable, "-m", "sglang_lang.launch_server", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_listening(address, process)
        with httpx.Client(transport=transport, base_url=url, timeout=60) as client:
            assert client.get("/health").status_code == 200
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_unix_socket_from_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    config = tmp_path / "server.yaml"
    config.write_text(f"uds: {path}\napi-key: [one, two]\nserved-model-name: mine\n")
    transport = httpx.HTTPTransport(uds=str(path))
    with started(transport, "http://x", str(path), "--config", str(config)) as client:
        assert client.get("/v1/models").status_code == 401
        client.headers["authorization"] = "Bearer two"
        assert client.get("/v1/models").json()["data"][0]["id"] == "mine"
        body = {"prompt": "x", "max_tokens": 2}
        assert client.post("/v1/completions", json=body).status_code == 200


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(certfile)
    certificate.private_key_pem.write_to_path(keyfile)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    port = free_port()
    flags = ("--ssl-certfile", str(certfile), "--ssl-keyfile", str(keyfile), "--port", str(port))
    transport = httpx.HTTPTransport(verify=trusted)
    with started(transport, f"https://localhost:{port}", ("127.0.0.1", port), *flags) as client:
        assert client.get("/v1/models").status_code == 200
    status, error = exit_of("--ssl-certfile", str(tmp_path / "absent.pem"), "--port", "0")
    assert status == 2 and "--ssl-certfile" in error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_requests_are_logged_as_json_with_their_ids(server: ServerProcess) -> None:
    body = {"prompt": "hello", "max_tokens": 2}
    headers = {"x-request-id": "find-me"}
    httpx.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=60)
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    mine = [line for line in lines if line.get("request_id") == "find-me"]
    assert [line["message"] for line in mine] == [
        "request started",
        "request ended",
        "POST /v1/completions",
    ]
    assert mine[1]["completion_tokens"] == 2


def test_an_idle_server_takes_hardly_any_cpu(server: ServerProcess) -> None:
    """CPU time is the processes' own, whatever else the machine does; they may end what they do
    beside requests, such as warming the grammars up, before it counts."""
    body = {"prompt": "x", "max_tokens": 20}
    httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    processes = process_tree(server.process.pid)
    assert len(processes) == 2
    shares = (cpu_share(processes, 2.0) for _ in range(10))
    assert any(share < 0.02 for share in shares)


def test_metrics_of_the_real_scheduler(server: ServerProcess) -> None:
    body = {"prompt": "x", "max_tokens": 30, "regex": '\\{"name": "[a-z]{2,5}"\\}'}
    httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    text = httpx.get(f"{server.url}/metrics", timeout=60).text
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["sglang:forced_tokens_total"] > 0
    assert values["sglang:grammar_compilation_time_seconds_count"] >= 1
    assert values["sglang:max_total_num_tokens"] > 1000
    assert values["sglang:num_running_reqs"] == 0
    assert 0 < values["sglang:weight_load_duration_seconds"] < values["sglang:startup_time_seconds"]
    assert values["sglang:scheduler_idle_seconds_total"] > 0


async def throw_requests(client: httpx.AsyncClient, count: int) -> None:
    """All at once; each must come back with its own rid."""

    async def one(i: int) -> None:
        body = {
            "text": f"Number {i}",
            "rid": f"r{i}",
            "sampling_params": {"max_new_tokens": 4, "ignore_eos": True},
        }
        answer = (await client.post("/generate", json=body)).json()
        assert answer["meta_info"]["id"] == f"r{i}"
        assert answer["meta_info"]["completion_tokens"] == 4

    await asyncio.gather(*(one(i) for i in range(count)))


async def test_1000_requests_at_once_complete_and_leave_no_memory(server: ServerProcess) -> None:
    """The first thousand may fill caches; after the second, nothing may have grown."""
    processes = [psutil.Process(server.process.pid), psutil.Process(server.scheduler_pid())]
    limits = httpx.Limits(max_connections=1000)
    async with httpx.AsyncClient(base_url=server.url, timeout=240, limits=limits) as client:
        await throw_requests(client, 1000)
        before = [process.memory_info().rss for process in processes]
        await throw_requests(client, 1000)
        state = (await client.get("/server_info")).json()["internal_states"][0]
    after = [process.memory_info().rss for process in processes]
    assert all(now <= 1.1 * then for now, then in zip(after, before, strict=True)), (before, after)
    assert (state["num_running_reqs"], state["num_used_tokens"]) == (0, 0)
