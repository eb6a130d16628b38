"""The programs of language_workloads.py: in the language, and as plain calls to the same server.

usage: python -m benchmarks.language_programs [--rounds 3] [--only NAME,..] [--json FILE] [FLAG ..]

Starts a server of the embedded model (FLAG: more of its flags), and runs each program in both forms
in turn, each time with an empty cache. Prints a line of a table for each: medians of the rounds,
and how many times less time and prefilled tokens the language takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sglang_lang as sgl
from benchmarks.language_workloads import WORKLOADS, Api, Variables, Workload

HEAD = (
    *("program", "runs", "plain calls", "plain", "language", "time"),
    *("plain prompts", "plain prefilled", "language prefilled", "tokens", "same results"),
)
COUNTED = ("prompt_tokens", "prefill_tokens", "finished_requests")


@dataclass(frozen=True, slots=True)
class Run:
    """One form of a workload, run once: seconds, and what the server counted.

    ``prompt_tokens`` are all that were asked for, ``prefill_tokens`` those that were not cached.
    """

    seconds: float
    prompt_tokens: int
    prefill_tokens: int
    requests: int
    results: list[Variables]


def measured(backend: sgl.RuntimeEndpoint, work: Callable[[], list[Variables]]) -> Run:
    """The work with an empty cache."""
    backend.flush_cache()
    before = counters(backend)
    start = time.perf_counter()
    results = work()
    seconds = time.perf_counter() - start
    after = counters(backend)
    prompt, prefill, requests = (after[name] - before[name] for name in COUNTED)
    return Run(seconds, prompt, prefill, requests, results)


def counters(backend: sgl.RuntimeEndpoint) -> dict[str, int]:
    counted: dict[str, int] = backend.get_server_info()["internal_states"][0]
    return counted


def by_plain_calls(workload: Workload, api: Api) -> list[Variables]:
    return [workload.plain(api, **item) for item in workload.items]


def in_language(workload: Workload, backend: sgl.RuntimeEndpoint) -> list[Variables]:
    states = workload.program.run_batch(
        workload.items, backend=backend, temperature=0, ignore_eos=True
    )
    return [state.variables for state in states]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both forms of a workload, in several rounds."""

    name: str
    plain: list[Run]
    language: list[Run]

    def row(self) -> list[str]:
        seconds = [median(runs, lambda run: run.seconds) for runs in (self.plain, self.language)]
        tokens = [
            median(runs, lambda run: run.prefill_tokens) for runs in (self.plain, self.language)
        ]
        asked, told = self.plain[0].results, self.language[0].results
        same = sum(_agree(one, other) for one, other in zip(asked, told, strict=True))
        return [
            self.name,
            str(len(asked)),
            f"{self.plain[0].requests}",
            f"{seconds[0]:.2f} s",
            f"{seconds[1]:.2f} s",
            f"{seconds[0] / seconds[1]:.1f}x",
            f"{self.plain[0].prompt_tokens}",
            f"{tokens[0]:.0f}",
            f"{tokens[1]:.0f}",
            f"{tokens[0] / tokens[1]:.2f}x",
            f"{same} of {len(asked)}",
        ]


def median(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return statistics.median(map(value, runs))


def _agree(plain: Variables, language: Variables) -> bool:
    return all(language.get(name) == value for name, value in plain.items())


def compared(workloads: Sequence[Workload], rounds: int, url: str) -> Iterator[Comparison]:
    api, backend = Api(url), sgl.RuntimeEndpoint(url)
    for workload in workloads:
        comparison = Comparison(workload.name, [], [])
        workload.plain(api, **workload.items[0])  # what is built at first use is no part of it
        for _ in range(rounds):
            comparison.plain.append(measured(backend, partial(by_plain_calls, workload, api)))
            comparison.language.append(measured(backend, partial(in_language, workload, backend)))
        yield comparison
    backend.shutdown()


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="names of programs, with commas between them")
    parser.add_argument("--json", type=Path, help="write every run there as well")
    args, flags = parser.parse_known_args()
    chosen = args.only.split(",") if args.only else [workload.name for workload in WORKLOADS]
    workloads = [workload for workload in WORKLOADS if workload.name in chosen]
    found = []
    with sgl.Runtime(**server_args(flags)) as runtime:
        print(line(HEAD), line(["---"] * len(HEAD)), sep="\n", flush=True)
        for comparison in compared(workloads, args.rounds, runtime.base_url):
            print(line(comparison.row()), flush=True)
            found.append(comparison)
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


def server_args(flags: Sequence[str]) -> dict[str, Any]:
    """``--max-total-tokens 8192`` as the argument that Runtime takes."""
    names = [flag.removeprefix("--").replace("-", "_") for flag in flags[::2]]
    return dict(zip(names, flags[1::2], strict=True))


if __name__ == "__main__":
    main()
