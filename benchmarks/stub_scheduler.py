"""A scheduler around a model that returns random tokens: in this process, or in one of its own.

    python -m benchmarks.stub_scheduler TO_SCHEDULER FROM_SCHEDULER [--batch 256] [--page-size 1]

serves the two ipc:// addresses until it is told to shut down; benchmarks/scheduler.py starts it.
"""

from __future__ import annotations

import argparse
import random

import torch

from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool
from sglang_lang.radix_cache.prefix_cache import RadixCache
from sglang_lang.runtime.ipc import SchedulerAddresses, SchedulerPort, ZmqSchedulerPort
from sglang_lang.runtime.model_executor.model_runner import LaunchedStep
from sglang_lang.runtime.model_executor.step import StepInput, StepResult
from sglang_lang.runtime.scheduler.grammar_queue import GrammarQueue
from sglang_lang.runtime.scheduler.kv_cache import KVCache
from sglang_lang.runtime.scheduler.limits import Limits
from sglang_lang.runtime.scheduler.planner import Planner
from sglang_lang.runtime.scheduler.policy import LongestPrefixMatch
from sglang_lang.runtime.scheduler.results import ResultProcessor
from sglang_lang.runtime.scheduler.scheduler import Scheduler
from sglang_lang.runtime.scheduler.step_builder import StepBuilder

VOCAB = 49_152
CONTEXT = 4096
CHUNK = 8192
END = frozenset({2})


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


def make_stub(port: SchedulerPort, batch: int, page_size: int) -> Scheduler:
    req_pool = ReqToTokenPool(2 * batch, CONTEXT, torch.device("cpu"))
    allocator = TokenAllocator(batch * CONTEXT, page_size)
    kv = KVCache(allocator, req_pool, RadixCache(allocator, "lru"))
    vocabulary = Vocabulary.from_token_bytes([bytes([i]) for i in range(256)], [])
    return Scheduler(
        port=port,
        runner=RandomTokens(),
        kv=kv,
        planner=Planner(kv, LongestPrefixMatch(kv), CHUNK, batch, 0.1),
        builder=StepBuilder(req_pool, VOCAB, END),
        results=ResultProcessor(END, None, 1),
        grammars=GrammarQueue(GrammarCompiler(vocabulary)),
        token_bytes=lambda token_id: b"x",
        limits=Limits(CONTEXT, allocator.available()),
        vocab_size=VOCAB,
        overlap=True,
        random_seed=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("to_scheduler")
    parser.add_argument("from_scheduler")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--page-size", type=int, default=1)
    args = parser.parse_args()
    port = ZmqSchedulerPort(SchedulerAddresses(args.to_scheduler, args.from_scheduler))
    make_stub(port, args.batch, args.page_size).run_forever()


if __name__ == "__main__":
    main()
