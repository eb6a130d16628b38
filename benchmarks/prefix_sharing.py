"""What sharing prefixes gains, how near to the best hit rate it comes, and what it costs.

    python -m benchmarks.prefix_sharing [--quick] [--work NAME... --add] [--out PATH]

Runs the programs of prefix_workloads.py on the embedded model in this process: with the radix cache
on and off and with the overlap loop off, in turn; then 100 unrelated prompts with the cache on and
off, where a stopwatch over everything that only a cache needs says what it costs. Writes OUT.md,
OUT.json and OUT.png; ``--add`` keeps the runs that are there, so that it can be done in pieces.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.prefix_report import NO_OVERLAP, OFF, ON, Report, Row, read_report, write_report
from benchmarks.prefix_workloads import SHARING, Program, unrelated
from sglang_lang.radix_cache.prefix_cache import RadixCache
from sglang_lang.runtime.engine import Engine
from sglang_lang.runtime.scheduler.policy import LongestPrefixMatch
from sglang_lang.runtime.scheduler.sharing import FillingPrompts

POOL = 49_152  # KV slots
UNRELATED = "unrelated prompts"
WORKS = (*SHARING, UNRELATED)
SETTINGS: dict[str, dict[str, Any]] = {
    ON: {},
    OFF: {"disable_radix_cache": True},
    NO_OVERLAP: {"disable_overlap_schedule": True},
}


@dataclass(slots=True)
class Computed:
    """A prompt that was computed, and the tokens generated behind it."""

    prompt: list[int]
    output: list[int]


@dataclass(slots=True)
class EngineClient:
    """Runs programs on an engine and notes what the engine was asked."""

    engine: Engine
    first_token: list[float] = field(default_factory=list)
    sequences: list[Computed] = field(default_factory=list)
    output_tokens: int = 0

    async def ask(self, prompt: str, new_tokens: int) -> str:
        params = {"max_new_tokens": new_tokens, "temperature": 0, "ignore_eos": True}
        start = time.perf_counter()
        first: float | None = None
        last: dict[str, Any] = {}
        async for response in await self.engine.async_generate(prompt, params, stream=True):
            first = first or time.perf_counter() - start
            last = response
        assert first is not None
        self.first_token.append(first)
        self.output_tokens += len(last["output_ids"])
        self.sequences.append(Computed(self._encode(prompt), last["output_ids"]))
        return str(last["text"])

    async def choose(self, prompt: str, choices: Sequence[str]) -> int:
        start = time.perf_counter()
        reply = await self.engine.async_score_choices(prompt, choices)
        self.first_token.append(time.perf_counter() - start)
        scores = [statistics.fmean(choice["logprobs"]) for choice in reply["choices"]]
        self.sequences.append(Computed(self._encode(prompt), []))
        self.sequences += [Computed(self._encode(prompt + choice), []) for choice in choices]
        return scores.index(max(scores))

    def _encode(self, text: str) -> list[int]:
        return self.engine.get_tokenizer().encode(text, True)


def best_hit_rate(sequences: Sequence[Computed]) -> float:
    """Hits of the best order in an endless cache: whatever has KV already is not computed again.

    Every distinct prefix of a prompt is computed once, unless the model has generated it, and the
    last token of a prompt always is.
    """
    prompts: set[int] = set()
    generated: set[int] = set()
    for sequence in sequences:
        state = 0
        for token_id in sequence.prompt:
            state = hash((state, token_id))
            prompts.add(state)
        for token_id in sequence.output[:-1]:
            state = hash((state, token_id))
            generated.add(state)
    total = sum(len(sequence.prompt) for sequence in sequences)
    computed = max(len(prompts - generated), len(sequences))
    return 1 - computed / total


# --------------------------------------------------------------------------- measuring

# What a scheduler without a cache does not call, or calls on a NoCache that does nothing.
CACHE_WORK: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        RadixCache,
        (
            "prefix_len",
            "match_prefix",
            "insert",
            "evict",
            "path_slots",
            "inc_lock_ref",
            "dec_lock_ref",
        ),
    ),
    (LongestPrefixMatch, ("order",)),
    (FillingPrompts, ("__init__", "add", "offer_more")),
)


@dataclass(slots=True)
class Stopwatch:
    """Time of the clock inside of the watched methods; of nested ones only the outermost counts."""

    seconds: float = 0.0
    _depth: int = 0

    def watch(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - start

        return watched


@contextmanager
def cache_stopwatch() -> Iterator[Stopwatch]:
    """Watch what every engine of this process does for the sake of its cache."""
    stopwatch = Stopwatch()
    methods = [(owner, name, getattr(owner, name)) for owner, names in CACHE_WORK for name in names]
    for owner, name, method in methods:
        setattr(owner, name, stopwatch.watch(method))
    try:
        yield stopwatch
    finally:
        for owner, name, method in methods:
            setattr(owner, name, method)


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine under one setting, and the thread of its scheduler."""

    setting: str
    engine: Engine
    thread_id: int

    def cpu_seconds(self) -> float:
        """CPU time that the scheduler's thread has had."""
        stat = Path(f"/proc/self/task/{self.thread_id}/schedstat").read_text()
        return int(stat.split()[0]) / 1e9

    def measure(self, name: str, program: Program, seed: int, scale: float) -> Row:
        engine = self.engine
        engine.flush_cache()
        client = EngineClient(engine)
        before, cpu = engine.get_server_info(), self.cpu_seconds()
        with cache_stopwatch() as stopwatch:
            start = time.perf_counter()
            asyncio.run(program(client, seed, scale))
            seconds = time.perf_counter() - start
        cpu_seconds = self.cpu_seconds() - cpu
        after = engine.get_server_info()
        prompt_tokens = after["prompt_tokens"] - before["prompt_tokens"]
        return Row(
            workload=name,
            setting=self.setting,
            requests=after["finished_requests"] - before["finished_requests"],
            prompt_tokens=prompt_tokens,
            output_tokens=client.output_tokens,
            seconds=seconds,
            scheduler_cpu_seconds=cpu_seconds,
            cache_seconds=stopwatch.seconds,
            first_token_ms=1e3 * statistics.median(client.first_token),
            hit_rate=(after["cached_tokens"] - before["cached_tokens"]) / prompt_tokens,
            best_hit_rate=best_hit_rate(client.sequences),
        )


@contextmanager
def subjects(cpu_threads: int | None) -> Iterator[list[Subject]]:
    """One engine for each setting, side by side; each is idle while another one is measured."""
    with ExitStack() as stack:
        made: list[Subject] = []
        for setting, flags in SETTINGS.items():
            engine = Engine(
                cpu_threads=cpu_threads, max_total_tokens=POOL, log_level="error", **flags
            )
            stack.enter_context(engine)
            engine.generate(["warm up", "the engine"], {"max_new_tokens": 8, "temperature": 0})
            known = {subject.thread_id for subject in made}
            [thread_id] = _scheduler_threads() - known
            made.append(Subject(setting, engine, thread_id))
        yield made


def _scheduler_threads() -> set[int]:
    threads = threading.enumerate()
    return {t.native_id for t in threads if t.name == "scheduler" and t.native_id is not None}


def in_turn(
    subjects: Sequence[Subject], name: str, program: Program, seeds: Sequence[int], scale: float
) -> list[Row]:
    """The workload under every setting, round by round, so that all meet the same machine."""
    rows = []
    for seed in seeds:
        for subject in subjects:
            rows.append(subject.measure(name, program, seed, scale))
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the requests, one round")
    parser.add_argument("--rounds", type=int, default=2, help="of each workload; medians are given")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--work", choices=[*WORKS], nargs="+", default=[*WORKS], metavar="NAME")
    parser.add_argument("--add", action="store_true", help="to the runs that OUT.json holds")
    parser.add_argument("--cpu-threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/prefix_sharing"))
    args = parser.parse_args()
    scale, rounds = (0.25, 1) if args.quick else (1.0, args.rounds)
    report = read_report(args.out) if args.add else Report([], [])
    seeds = range(args.seed, args.seed + rounds)
    with subjects(args.cpu_threads) as engines:
        for name in args.work:
            if name in SHARING:
                report.rows.extend(in_turn(engines, name, SHARING[name], seeds, scale))
            else:
                caches = [subject for subject in engines if subject.setting in (ON, OFF)]
                report.unrelated.extend(in_turn(caches, name, unrelated, seeds, scale))
    write_report(report, args.out)
    print(args.out.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
