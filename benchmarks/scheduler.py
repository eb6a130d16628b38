"""What the scheduler itself costs, in a process of its own behind ZMQ and beside a real model.

    python -m benchmarks.scheduler [--batch 256] [--tokens 2000] [--requests 20000] [--no-model]

Prints output tokens and one-token requests per second of a scheduler process whose model is a stub
(per second of the clock, and of the CPU time of that process, which other load does not disturb);
where its time goes, by function; and in which part of decode steps with the embedded model the
model does not compute (sampling counts as that part), with the overlap loop on and off.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from benchmarks.stub_scheduler import VOCAB, make_stub
from sglang_lang.runtime.ipc import ZmqSchedulerClient
from sglang_lang.runtime.messages import (
    BatchOutput,
    ControlRequest,
    FromScheduler,
    GenerateRequest,
    ToScheduler,
    encode,
)
from sglang_lang.runtime.model_executor.forward_batch import ForwardBatch
from sglang_lang.runtime.model_executor.model_runner import ModelRunner
from sglang_lang.runtime.models.registry import CausalLM
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.scheduler.setup import make_scheduler
from sglang_lang.runtime.server_args import ServerArgs, resolve

PROMPT_LEN = 64
BLOCK = 20  # steps timed in one go
LISTED = 14  # functions of the profile


def requests(
    count: int, max_new_tokens: int, temperature: float = 0.0, vocab_size: int = VOCAB
) -> list[ToScheduler]:
    rng = random.Random(1)
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, ignore_eos=True)
    return [
        GenerateRequest(
            rid=f"{max_new_tokens}-{i}",
            input_ids=[rng.randrange(100, vocab_size) for _ in range(PROMPT_LEN)],
            sampling_params=params,
            stream=True,
        )
        for i in range(count)
    ]


# --------------------------------------------------------------------------- a second process


@dataclass(slots=True)
class Rate:
    """Tokens or requests, in seconds of the clock and of the scheduler process's CPU time."""

    count: int
    wall: float
    cpu: float

    def __str__(self) -> str:
        return (
            f"{self.count / self.wall:>10,.0f} /s {self.count / self.cpu:>12,.0f} per CPU second"
            f"   ({self.cpu / self.wall:.0%} of a core)"
        )


@dataclass(slots=True)
class StubProcess:
    client: ZmqSchedulerClient
    process: psutil.Process

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def run(self, work: list[ToScheduler], warm: int = 0) -> Rate:
        """Send each request in a message of its own, as the API process does, and read to the end.

        Every output holds one token. The clock starts after ``warm`` of them.
        """
        for request in work:
            self.client.send([request])
        done = count = before = 0
        start, cpu = time.perf_counter(), self.cpu()
        while done < len(work):
            for message in await self.client.recv():
                assert isinstance(message, BatchOutput)
                done += sum(1 for output in message.outputs if output.finish is not None)
                count += len(message.outputs)
            if before < warm:
                start, cpu, before = time.perf_counter(), self.cpu(), count
        return Rate(count - before, time.perf_counter() - start, self.cpu() - cpu)


@asynccontextmanager
async def stub_process(batch: int, page_size: int) -> AsyncIterator[StubProcess]:
    client = ZmqSchedulerClient()
    addresses = client.addresses
    command = [sys.executable, "-m", "benchmarks.stub_scheduler"]
    command += [addresses.to_scheduler, addresses.from_scheduler]
    command += ["--batch", str(batch), "--page-size", str(page_size)]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        client.send([ControlRequest(id=0, action="ping")])
        await client.recv()
        yield StubProcess(client, psutil.Process(child.pid))
        client.send([ControlRequest(id=1, action="shutdown")])
        await client.recv()
        child.wait(30)
    finally:
        child.kill()
        client.close()


async def through_zmq(batch: int, tokens: int, num_requests: int) -> None:
    print(f"a scheduler process behind ZMQ, batch {batch}, model: random tokens")
    for page_size in (1, 16):
        async with stub_process(batch, page_size) as stub:
            rate = await stub.run(requests(batch, tokens), warm=20 * batch)
        print(f"  output tokens, page size {page_size:<2}  {rate}")
    async with stub_process(batch, 1) as stub:
        rate = await stub.run(requests(num_requests, 1))
    print(f"  one-token requests           {rate}")


# --------------------------------------------------------------------------- where the time goes


class EncodingPort:
    """Serialises what is sent, as the ZMQ port does, and drops it."""

    def __init__(self) -> None:
        self.inbox: list[ToScheduler] = []
        self._woken = threading.Event()

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        if timeout_ms and not self.inbox:
            self._woken.wait(timeout_ms / 1000)
        self._woken.clear()
        messages, self.inbox = self.inbox, []
        return messages

    def wake(self) -> None:
        self._woken.set()

    def send(self, messages: list[FromScheduler]) -> None:
        encode(messages)

    def close(self) -> None:
        pass


def profile(batch: int, steps: int) -> None:
    port = EncodingPort()
    scheduler = make_stub(port, batch, 1)
    port.inbox = requests(batch, steps + 100)
    for _ in range(20):
        scheduler.step()
    start = time.thread_time()
    for _ in range(steps):
        scheduler.step()
    per_step = (time.thread_time() - start) / steps
    print(f"\none decode step of {batch}: {1e6 * per_step:.0f} us of CPU time, by function")
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(50):
        scheduler.step()
    profiler.disable()
    _print_shares(pstats.Stats(profiler))


def _print_shares(stats: pstats.Stats) -> None:
    """Each function's own share; the profiler makes short functions look longer than they are."""
    profiles = stats.get_stats_profile()
    rows = sorted(profiles.func_profiles.items(), key=lambda item: -item[1].tottime)
    for name, row in rows[:LISTED]:
        share = row.tottime / profiles.total_tt
        print(f"  {share:>6.1%}  {name}  ({Path(row.file_name).name})")


# --------------------------------------------------------------------------- beside a model


class TimedModel:
    """Counts the seconds in which the model computes."""

    def __init__(self, model: CausalLM) -> None:
        self._model = model
        self.seconds = 0.0

    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        start = time.perf_counter()
        hidden = self._model.forward(batch)
        self.seconds += time.perf_counter() - start
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        logits = self._model.logits(hidden)
        self.seconds += time.perf_counter() - start
        return logits


def beside_model(batch: int, rounds: int, threads: int | None, overlap: bool) -> None:
    """The part of decode steps in which the model does not compute."""
    port = EncodingPort()
    args = ServerArgs(
        cpu_threads=threads,
        max_running_requests=batch,
        max_total_tokens=65_536,
        disable_overlap_schedule=not overlap,
    )
    scheduler, _ = make_scheduler(resolve(args), port)
    runner = scheduler.runner
    assert isinstance(runner, ModelRunner) and runner.model is not None
    model = TimedModel(runner.model)
    runner.model = model
    port.inbox = requests(batch, rounds * BLOCK + 200)
    while len(scheduler.queues.running) < batch or any(
        req.kv_len < req.prompt_len for req in scheduler.queues.running
    ):
        scheduler.step()
    steps: list[float] = []
    shares: list[float] = []
    cpu: list[float] = []
    for _ in range(rounds):
        computed, start, cpu_start = model.seconds, time.perf_counter(), time.thread_time()
        for _ in range(BLOCK):
            scheduler.step()
        seconds = time.perf_counter() - start
        steps.append(seconds / BLOCK)
        shares.append(1 - (model.seconds - computed) / seconds)
        cpu.append((time.thread_time() - cpu_start) / BLOCK)
    name = "on" if overlap else "off"
    print(
        f"  overlap {name:<3} {1e3 * statistics.median(steps):.2f} ms a step, "
        f"{statistics.median(shares):.1%} of it not the model's "
        f"({min(shares):.1%} to {max(shares):.1%}); "
        f"the scheduler's thread: {1e3 * statistics.median(cpu):.2f} ms of CPU time"
    )
    scheduler.runner.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=2000, help="output tokens of each request")
    parser.add_argument("--requests", type=int, default=20_000, help="one-token requests")
    parser.add_argument("--model-batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10, help="blocks of steps with the model")
    parser.add_argument("--cpu-threads", type=int, default=None)
    parser.add_argument("--no-model", action="store_true", help="leave the embedded model out")
    args = parser.parse_args()
    asyncio.run(through_zmq(args.batch, args.tokens, args.requests))
    profile(args.batch, 500)
    if not args.no_model:
        print(
            f"\ndecode steps of {args.model_batch} with the embedded model, "
            f"medians of {args.rounds} x {BLOCK} steps"
        )
        for overlap in (True, False):
            beside_model(args.model_batch, args.rounds, args.cpu_threads, overlap)


if __name__ == "__main__":
    main()
