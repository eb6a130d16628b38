"""What the scheduler itself costs: the whole loop around a model that returns random tokens.

    python benchmarks/scheduler.py [--batch 256] [--steps 2000] [--profile]

Prints output tokens per second of one scheduler thread, and one-token requests per second. The
model is a stub, so nothing here says how fast a real one is.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import time

import torch

from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool
from sglang_lang.radix_cache.prefix_cache import RadixCache
from sglang_lang.runtime.messages import FromScheduler, GenerateRequest, ToScheduler, encode
from sglang_lang.runtime.model_executor.model_runner import LaunchedStep
from sglang_lang.runtime.model_executor.step import StepInput, StepResult
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.scheduler.grammar_queue import GrammarQueue
from sglang_lang.runtime.scheduler.kv_cache import KVCache
from sglang_lang.runtime.scheduler.planner import Planner
from sglang_lang.runtime.scheduler.policy import LongestPrefixMatch
from sglang_lang.runtime.scheduler.results import ResultProcessor
from sglang_lang.runtime.scheduler.scheduler import Limits, Scheduler
from sglang_lang.runtime.scheduler.step_builder import StepBuilder

VOCAB = 49_152
CONTEXT = 4096


class RandomTokens:
    """A model runner that computes nothing."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def launch(self, step: StepInput) -> LaunchedStep:
        launched = LaunchedStep(step)
        count = len(step.sampled_requests)
        ids = self._random.choices(range(1000, VOCAB), k=count)
        launched.future.set_result(StepResult(ids, [None] * count, []))
        return launched

    def close(self) -> None:
        pass


class EncodingPort:
    """Serialises what is sent, as the ZMQ port does, and drops it."""

    def __init__(self) -> None:
        self.inbox: list[ToScheduler] = []
        self.sent_bytes = 0

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        messages, self.inbox = self.inbox, []
        return messages

    def send(self, messages: list[FromScheduler]) -> None:
        self.sent_bytes += len(encode(messages))

    def close(self) -> None:
        pass


def make(batch: int, page_size: int) -> tuple[Scheduler, EncodingPort]:
    device = torch.device("cpu")
    port = EncodingPort()
    req_pool = ReqToTokenPool(2 * batch, CONTEXT, device)
    allocator = TokenAllocator(batch * CONTEXT, page_size)
    kv = KVCache(allocator, req_pool, RadixCache(allocator, "lru"))
    vocabulary = Vocabulary.from_token_bytes([bytes([i]) for i in range(256)], [])
    scheduler = Scheduler(
        port=port,
        runner=RandomTokens(),
        kv=kv,
        planner=Planner(kv, LongestPrefixMatch(kv), 8192, batch, 0.1),
        builder=StepBuilder(req_pool, VOCAB, frozenset({2})),
        results=ResultProcessor(frozenset({2}), None, 1),
        grammars=GrammarQueue(GrammarCompiler(vocabulary)),
        token_bytes=lambda token_id: b"x",
        limits=Limits(CONTEXT, allocator.available()),
        vocab_size=VOCAB,
        overlap=True,
        random_seed=0,
    )
    return scheduler, port


def requests(count: int, max_new_tokens: int, prompt_len: int = 64) -> list[ToScheduler]:
    rng = random.Random(1)
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0)
    return [
        GenerateRequest(
            rid=f"{max_new_tokens}-{i}",
            input_ids=[rng.randrange(VOCAB) for _ in range(prompt_len)],
            sampling_params=params,
            stream=True,
        )
        for i in range(count)
    ]


def decode_rate(batch: int, steps: int, page_size: int) -> float:
    scheduler, port = make(batch, page_size)
    port.inbox = requests(batch, steps + 100)
    for _ in range(20):
        scheduler.step()
    before = scheduler.stats.decode_tokens
    start = time.perf_counter()
    for _ in range(steps):
        scheduler.step()
    return (scheduler.stats.decode_tokens - before) / (time.perf_counter() - start)


def request_rate(count: int, batch: int) -> float:
    scheduler, port = make(batch, 1)
    work = requests(count, 1)
    start = time.perf_counter()
    for first in range(0, count, 64):
        port.inbox = work[first : first + 64]
        scheduler.step()
    while scheduler.stats.finished_requests < count:
        scheduler.step()
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    profile = cProfile.Profile()
    if args.profile:
        profile.enable()
    for page_size in (1, 16):
        rate = decode_rate(args.batch, args.steps, page_size)
        print(f"batch {args.batch}, page size {page_size}: {rate:,.0f} output tokens/s")
    print(f"one-token requests: {request_rate(5000, args.batch):,.0f} requests/s")
    if args.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
