"""Both ends of the channel between the API side and the scheduler, over sockets and in process."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sglang_lang.runtime.ipc import (
    MAX_WAITING_REPLIES,
    SchedulerAddresses,
    SchedulerClient,
    SchedulerPort,
    SchedulerStart,
    ZmqSchedulerClient,
    ZmqSchedulerPort,
    in_process_pair,
)
from sglang_lang.runtime.messages import (
    AbortRequest,
    BatchOutput,
    FromScheduler,
    GenerateRequest,
    RequestOutput,
)
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.server_args import ServerArgs


@pytest.fixture(params=["zmq", "in_process"])
async def ends(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[SchedulerPort, SchedulerClient]]:
    port: SchedulerPort
    client: SchedulerClient
    if request.param == "zmq":
        client = ZmqSchedulerClient()
        port = ZmqSchedulerPort(client.addresses)
    else:
        port, client = in_process_pair()
    yield port, client
    port.close()
    client.close()


async def test_requests_arrive_in_order(ends: tuple[SchedulerPort, SchedulerClient]) -> None:
    port, client = ends
    request = GenerateRequest(
        rid="a", input_ids=[1, 2], sampling_params=SamplingParams(stop=["x"], logit_bias={3: 1.0})
    )
    client.send([request, AbortRequest(rid_prefix="a")])
    received = await asyncio.to_thread(_receive, port, 2)
    assert received == [request, AbortRequest(rid_prefix="a")]


async def test_replies_arrive_in_order(ends: tuple[SchedulerPort, SchedulerClient]) -> None:
    port, client = ends
    await asyncio.to_thread(_send, port, 100)
    received: list[FromScheduler] = []
    while len(received) < 100:
        received += await client.recv()
    assert received == [_reply(i) for i in range(100)]


async def test_recv_without_wait_returns_at_once(
    ends: tuple[SchedulerPort, SchedulerClient],
) -> None:
    port, _ = ends
    assert port.recv(0) == []
    assert port.recv(1) == []


async def test_a_wake_ends_one_wait_and_loses_no_message(
    ends: tuple[SchedulerPort, SchedulerClient],
) -> None:
    port, client = ends
    for _ in range(100_000):  # far more than a pipe holds; those left over end no second wait
        port.wake()
    assert await asyncio.wait_for(asyncio.to_thread(port.recv, 60_000), 30) == []
    assert port.recv(1) == []
    waiting = asyncio.create_task(asyncio.to_thread(port.recv, 60_000))
    client.send([AbortRequest(rid_prefix="a")])
    assert await asyncio.wait_for(waiting, 30) == [AbortRequest(rid_prefix="a")]


async def test_a_slow_reader_loses_nothing() -> None:
    client = ZmqSchedulerClient()
    port = ZmqSchedulerPort(client.addresses)
    total = 3 * MAX_WAITING_REPLIES
    sender = threading.Thread(target=_send, args=(port, total))
    sender.start()
    received: list[FromScheduler] = []
    while len(received) < total:
        received += await client.recv()
    sender.join()
    assert received == [_reply(i) for i in range(total)]
    port.close()
    client.close()


async def test_the_sockets_are_private_and_removed() -> None:
    client = ZmqSchedulerClient()
    folder = Path(client.addresses.to_scheduler.removeprefix("ipc://")).parent
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    client.close()
    assert not folder.exists()


def test_the_child_gets_its_start_line_and_exits_when_its_parent_is_gone() -> None:
    addresses = SchedulerAddresses(to_scheduler="ipc:///a", from_scheduler="ipc:///b")
    start = SchedulerStart(args=ServerArgs(port=1234, page_size=4), addresses=addresses)
    code = (
        "import sys, threading, msgspec; from sglang_lang.runtime.ipc import receive_start\n"
        "print(msgspec.json.encode(receive_start(sys.stdin.buffer)).decode(), flush=True)\n"
        "threading.Event().wait()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(msgspec.json.encode(start) + b"\n")
    child.stdin.flush()
    assert msgspec.json.decode(child.stdout.readline(), type=SchedulerStart) == start
    child.stdin.close()
    assert child.wait(timeout=30) == 1
    child.stdout.close()


def _send(port: SchedulerPort, count: int) -> None:
    for number in range(count):
        port.send([_reply(number)])


def _receive(port: SchedulerPort, count: int) -> list[object]:
    received: list[object] = []
    while len(received) < count:
        received += port.recv(1000)
    return received


def _reply(number: int) -> BatchOutput:
    return BatchOutput(outputs=[RequestOutput(rid=str(number), token_ids=[number])])
