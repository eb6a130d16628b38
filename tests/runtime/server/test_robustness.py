"""Malformed input, slow and half-open clients: no 500, no hang, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httptools
import httpx
import psutil
import pytest

from sglang_lang.runtime.server.app import ROUTES
from sglang_lang.runtime.server.http_protocol import MAX_HEAD_BYTES

from .echo_server import EchoServer

PATHS = sorted(
    operation.path
    for module in ROUTES
    for operation in module.router.operations
    if "POST" in operation.methods and operation.body is not None
)
GOOD: list[dict[str, Any]] = [
    {"prompt": "ab", "max_tokens": 2, "stream": True, "logprobs": 1},
    {"messages": [{"role": "user", "content": "ab"}], "max_tokens": 2, "tools": [], "n": 2},
    {"text": ["ab", "c"], "sampling_params": {"max_new_tokens": 2, "stop": ["x"]}},
    {"model": "default", "input": ["ab"], "query": "q", "documents": ["d"], "tokens": [1, 2]},
]
JUNK: list[Any] = [
    None,
    True,
    -1,
    10**30,
    1e308,
    "",
    "\x00",
    "\ud800",
    "x" * 3000,
    [],
    {},
    [[[[]]]],
    [None],
    {"": {}},
    {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}},
]
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with EchoServer() as started:
        yield started


def mutated(rng: random.Random) -> bytes:
    """A body that is wrong somewhere: a field, a level, the JSON, or the bytes."""
    body = dict(rng.choice(GOOD))
    for _ in range(rng.randint(1, 3)):
        body[rng.choice([*body, "stop", "regex", "temperature", "tools", "input_ids"])] = (
            rng.choice(JUNK)
        )
    data = json.dumps(body).encode()
    kind = rng.randrange(5)
    if kind == 0:
        cut = rng.randrange(len(data))
        return data[:cut]
    if kind == 1:
        place = rng.randrange(len(data))
        return data[:place] + rng.randbytes(rng.randint(1, 4)) + data[place + 1 :]
    if kind == 2:
        return b"[" * rng.randint(1, 5000)
    return data


class Answers:
    """Counts the statuses of the responses on a connection."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        self.statuses.append(self.parser.get_status_code())


async def pipelined(address: tuple[str, int], requests: list[bytes]) -> list[int]:
    """Send all at once on one connection; the status of each answer, in order."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"".join(requests))
    answers = Answers()
    async with asyncio.timeout(WAIT_SECONDS):
        while len(answers.statuses) < len(requests):
            data = await reader.read(1 << 16)
            assert data, "the server hung up"
            answers.parser.feed_data(data)
    writer.close()
    await writer.wait_closed()
    return answers.statuses


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def settled(server: EchoServer) -> None:
    """Wait until no request is live and none is being answered."""
    async with asyncio.timeout(WAIT_SECONDS):
        while server.side.manager.num_live or server.context.http_stats.active:
            await asyncio.sleep(0.01)


async def throw_bodies(server: EchoServer, rng: random.Random, count: int) -> Counter[int]:
    statuses: Counter[int] = Counter()
    for _ in range(count // 100):
        requests = [post(rng.choice(PATHS), mutated(rng)) for _ in range(100)]
        statuses.update(await pipelined(server.address, requests))
    await settled(server)
    return statuses


@pytest.mark.slow
async def test_8000_malformed_bodies(server: EchoServer) -> None:
    """The second half may not leave the process larger than the first has."""
    rng = random.Random(0)
    process = psutil.Process()
    statuses = await throw_bodies(server, rng, 4000)
    before = process.memory_info().rss
    statuses += await throw_bodies(server, rng, 4000)
    assert process.memory_info().rss < before * 1.1
    assert statuses.total() == 8000
    assert not [status for status in statuses if status >= 500], statuses
    assert statuses[400] > 4000


HEADS = [
    b"GET /health HTTP/1.1\r\n" + b"a: " + b"b" * (MAX_HEAD_BYTES + 70_000),
    b"GET /" + b"x" * (2 * MAX_HEAD_BYTES) + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
    b"POST /generate HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    b"POST /generate HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
    b"POST /generate HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /generate HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    b"GET /health HTTP/1.1\r\nx-request-id: \xff\xfe\r\nauthorization: Bearer \xff\r\n\r\n",
    b"GET /v1/models/%00%ff HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"GET /health?nodes=%f0 HTTP/1.1\r\ntraceparent: 00-zz\r\n\r\n",
]


def mutated_head(rng: random.Random) -> bytes:
    head = rng.choice(HEADS)
    if rng.random() < 0.3:
        return head
    place = rng.randrange(len(head))
    return head[:place] + rng.randbytes(rng.randint(1, 8)) + head[place + rng.randint(0, 8) :]


async def throw_head(address: tuple[str, int], head: bytes) -> bytes:
    """What the server says to it; half-closed after sending, as much as would be a dead peer."""
    reader, writer = await asyncio.open_connection(*address)
    said = b""
    try:
        writer.write(head)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(WAIT_SECONDS):
            said = await reader.read()
    except ConnectionError:
        pass  # hung up while it was sent
    writer.close()
    return said


@pytest.mark.slow
async def test_2000_malformed_heads(server: EchoServer) -> None:
    rng = random.Random(0)
    answers: list[bytes] = []
    for _ in range(100):
        heads = (mutated_head(rng) for _ in range(20))
        answers += await asyncio.gather(*(throw_head(server.address, head) for head in heads))
    assert len(answers) == 2000
    assert not [said for said in answers if said.startswith(b"HTTP/1.1 5")]
    assert any(said.startswith(b"HTTP/1.1 431") for said in answers)
    await settled(server)
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.post("/generate", json={"text": "x"})).status_code == 200


async def test_headers_without_end_are_refused(server: EchoServer) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"GET /health HTTP/1.1\r\n")
    sent = 0
    try:
        while sent < 100 * MAX_HEAD_BYTES:
            writer.write(b"a: " + b"b" * 1000 + b"\r\n")
            await writer.drain()
            sent += 1005
    except ConnectionError:
        pass
    assert sent < 100 * MAX_HEAD_BYTES
    writer.close()


def half_closed(address: tuple[str, int]) -> socket.socket:
    """Asks for something that never ends, and says that it will send no more."""
    made = socket.create_connection(address)
    made.sendall(post("/generate", b'{"text": "hang", "stream": true}'))
    made.shutdown(socket.SHUT_WR)
    return made


def never_reads(address: tuple[str, int]) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(address)
    body = {"prompt": ["a" * 120] * 64, "max_tokens": 120, "stream": True, "logprobs": 5}
    made.sendall(post("/v1/completions", json.dumps(body).encode()))
    return made


async def test_idle_slow_and_half_closed_clients_hold_nobody_up(server: EchoServer) -> None:
    sockets = [socket.create_connection(server.address) for _ in range(500)]
    sockets += [half_closed(server.address) for _ in range(20)]
    sockets += [never_reads(server.address) for _ in range(10)]
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS) as client:
        work = [client.post("/generate", json={"text": f"request {i}"}) for i in range(50)]
        answers = await asyncio.gather(*work)
    assert [answer.json()["text"] for answer in answers] == [f"request {i}" for i in range(50)]
    for made in sockets:
        made.close()
    await settled(server)
