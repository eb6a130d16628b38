"""What the language itself costs: CPU time per ``gen``, and memory of programs that wait.

usage: python -m benchmarks.language_overhead [--quick] [--json FILE]
CPU time is that of all threads of this process. Over HTTP the server is another process, which
answers at once with a fixed reply, and bare calls with the very bodies that the program sends, by
the same HTTP client on the same loop, are subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import httpx

import sglang_lang as sgl
from sglang_lang.backends.base import BaseBackend, Completion, Prompt
from sglang_lang.background import wait_for
from sglang_lang.choices import ChoicesDecision, ChoicesSamplingMethod
from sglang_lang.ir import GenOptions

GENS_LIMIT_US = 150
STATES_LIMIT_MB = 300
NUM_STATES = 1000
ROUNDS = 7
PROMPT = "A prompt of some words, as a program would begin with. " * 8
META = {"prompt_tokens": 100, "completion_tokens": 1, "cached_tokens": 99, "forced_tokens": 0}
REPLY = {"text": " x", "output_ids": [1], "meta_info": {"id": "0", **META}}
OPENING = {"opening": PROMPT}  # of the reply to a chat


@dataclass(slots=True)
class Result:
    """One line of the report."""

    what: str
    value: float
    unit: str
    limit: float | None = None


# --------------------------------------------------------------------------- backends


class NullBackend(BaseBackend):
    """Answers at once, or when ``release`` is called, from this process."""

    def __init__(self, held: int = 0) -> None:
        self._held = held
        self._arrived = 0
        self._released = asyncio.Event()
        self.all_wait = threading.Event()

    @property
    def model_name(self) -> str:
        return "null"

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], open_role: str | None
    ) -> str:
        return "".join(str(message["content"]) for message in messages)

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        if self._held:
            self._arrived += 1
            if self._arrived == self._held:
                self.all_wait.set()
            await self._released.wait()
        return [Completion(" x", dict(META))]

    async def generate_stream(
        self, prompt: Prompt, options: GenOptions
    ) -> AsyncIterator[Completion]:
        for completion in await self.generate(prompt, options):
            yield completion

    async def select(
        self,
        prompt: Prompt,
        choices: Sequence[str],
        method: ChoicesSamplingMethod,
        temperature: float,
    ) -> ChoicesDecision:
        return ChoicesDecision(choices[0], dict(META))

    def release(self) -> None:
        async def go() -> None:
            self._released.set()

        wait_for(go())


class Stub(BaseHTTPRequestHandler):
    """The cheapest server that speaks the native protocol."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer({"model_path": "stub", "has_chat_template": True})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(REPLY | OPENING if b'"chat"' in body else REPLY)

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


def _serve(told: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    told.send(server.server_port)
    server.serve_forever()


@contextmanager
def stub_server() -> Iterator[str]:
    """The stub in a process of its own, so that its CPU time is not ours."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


# --------------------------------------------------------------------------- CPU time


@sgl.function
def writing(s: sgl.ProgramState, count: int) -> None:
    """Runs ahead: nothing is read before the end."""
    s += PROMPT
    for number in range(count):
        s += sgl.gen(f"x{number}", max_tokens=8, stop="\n")


@sgl.function
def reading(s: sgl.ProgramState, count: int) -> None:
    """Waits for every value, as a program with decisions does."""
    s += PROMPT
    for number in range(count):
        s += sgl.gen(f"x{number}", max_tokens=8, stop="\n")
        assert s[f"x{number}"] == " x"


@sgl.function
async def awaiting(s: sgl.ProgramState, count: int) -> None:
    """``reading``, without blocking an event loop."""
    s += PROMPT
    for number in range(count):
        s += sgl.gen(f"x{number}", max_tokens=8, stop="\n")
        assert await s.aget(f"x{number}") == " x"


@sgl.function
def chatting(s: sgl.ProgramState, count: int) -> None:
    """A turn for each ``gen``, which the server renders."""
    s += sgl.user(PROMPT)
    for number in range(count):
        s += sgl.assistant(sgl.gen(f"x{number}", max_tokens=8, stop="\n"))


def cpu_us(works: Sequence[Callable[[], Any]], count: int) -> list[float]:
    """Microseconds of CPU for one of ``count``, for each work.

    The works take turns, and the least of the rounds counts: what else runs on the machine can
    only add to it.
    """
    least = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            start = time.process_time()
            work()
            least[number] = min(least[number], (time.process_time() - start) / count * 1e6)
    return least


PROGRAMS = {
    "a program that runs ahead": writing,
    "a program that reads each value": reading,
    "an async program that awaits each value": awaiting,
    "a chat": chatting,
}


class RecordingEndpoint(sgl.RuntimeEndpoint):
    """Keeps the bodies that it sends."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.bodies: list[dict[str, Any]] = []

    async def _generate(self, request: dict[str, Any]) -> Any:
        self.bodies.append(request)
        return await super()._generate(request)


def bodies_of(program: sgl.SglFunction, url: str, count: int) -> list[dict[str, Any]]:
    endpoint = RecordingEndpoint(url)
    program.run(count, backend=endpoint)
    endpoint.shutdown()
    return endpoint.bodies


def bare_aiohttp(
    session: aiohttp.ClientSession, url: str, bodies: Sequence[dict[str, Any]]
) -> Callable[[], None]:
    """The HTTP calls of a program and nothing else, as the endpoint makes them."""

    async def calls() -> None:
        for body in bodies:
            async with session.post(f"{url}/generate", json=body) as response:
                json.loads(await response.read())

    return lambda: wait_for(calls())


def bare_httpx(url: str, bodies: Sequence[dict[str, Any]]) -> Callable[[], None]:
    """The same by another client, to compare the two."""
    client = httpx.AsyncClient(base_url=url)

    async def calls() -> None:
        for body in bodies:
            (await client.post("/generate", json=body)).json()

    return lambda: wait_for(calls())


def cpu_of_gens(count: int) -> Iterator[Result]:
    null = NullBackend()
    local = cpu_us([partial(one.run, count, backend=null) for one in PROGRAMS.values()], count)
    for name, used in zip(PROGRAMS, local, strict=True):
        yield Result(f"{name}, in-process null backend", used, "us/gen", GENS_LIMIT_US)
    with stub_server() as url:
        endpoint = sgl.RuntimeEndpoint(url)
        session = wait_for(endpoint.open_session())
        for name, program in PROGRAMS.items():
            # Every turn of a chat is longer to encode than the one before.
            gens = count // 5 if program is chatting else count
            bodies = bodies_of(program, url, gens)
            works: list[Callable[[], Any]] = [
                bare_httpx(url, bodies),
                bare_aiohttp(session, url, bodies),
                partial(program.run, gens, backend=endpoint),
            ]
            by_httpx, bare, whole = cpu_us(works, gens)
            yield Result(f"{name}: bare httpx calls", by_httpx, "us/call")
            yield Result(f"{name}: bare calls by the endpoint's client", bare, "us/call")
            yield Result(f"{name}: over HTTP, all in all", whole, "us/gen")
            what = f"{name}: over HTTP beyond the bare calls"
            yield Result(what, whole - bare, "us/gen", GENS_LIMIT_US)
        wait_for(session.close())
        endpoint.shutdown()


# --------------------------------------------------------------------------- memory


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def waiting(run: Callable[[list[dict[str, Any]], BaseBackend], Any], count: int) -> float:
    """Resident memory while ``count`` programs wait for their generation."""
    backend = NullBackend(held=count)
    runner = threading.Thread(target=run, args=([{"count": 1}] * count, backend))
    runner.start()
    backend.all_wait.wait()
    used = rss_mb()
    backend.release()
    runner.join()
    return used


def memory_of_states(count: int) -> Iterator[Result]:
    def awaited(items: list[dict[str, Any]], backend: BaseBackend) -> None:
        asyncio.run(writing.arun_batch(items, backend=backend, num_concurrent=count))

    def threaded(items: list[dict[str, Any]], backend: BaseBackend) -> None:
        writing.run_batch(items, backend=backend, num_threads=count)

    yield Result("client before", rss_mb(), "MB")
    for name, run in (("arun_batch", awaited), ("run_batch", threaded)):
        used = waiting(run, count)
        yield Result(f"{count} states that wait, {name}", used, "MB", STATES_LIMIT_MB)


# --------------------------------------------------------------------------- report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer gens")
    parser.add_argument("--json", type=Path, help="write the results there as well")
    args = parser.parse_args()
    results = []
    print("| what | value | limit |\n| --- | ---: | ---: |")
    for measure in (memory_of_states(NUM_STATES), cpu_of_gens(100 if args.quick else 500)):
        for result in measure:
            results.append(result)
            limit = "" if result.limit is None else f"{result.limit:.0f} {result.unit}"
            print(f"| {result.what} | {result.value:.1f} {result.unit} | {limit} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(result) for result in results], indent=1))


if __name__ == "__main__":
    main()
