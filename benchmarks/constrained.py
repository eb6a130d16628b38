"""Grammars, compiled and masked: this engine beside llguidance, xgrammar and outlines-core.

    python -m benchmarks.constrained [--vocabulary 49k,151k,248k] [--engine ours,llguidance]
                                     [--schemas DIR --count 300] [--regexes] [--kept DIR]

CPU time of the calling thread, so other work on the machine matters little. Every engine compiles
each schema afresh, then follows an instance of it token by token: one mask and one step a token,
first cold (a grammar never used) and then again with the same grammar. The second part is a batch
of 32 different schemas. ``--schemas`` takes a folder of MaskBench files instead of our own schemas;
``--regexes`` measures the patterns of ``regexes.py`` instead, and whether each engine is right.
With ``--kept`` ours keeps its grammars in a folder: a second run has them from there.
Needs the ``bench`` extra; an engine that is not installed is left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grammar_engines import Engine, Grammar, Ours, ends_in_time, engines
from benchmarks.regexes import REGEXES, RegexCase
from benchmarks.vocabularies import Tokens, tokens_49k, tokens_151k, tokens_248k

OWN_SCHEMAS = Path(__file__).parent / "schemas.jsonl"
VOCABULARIES: dict[str, Callable[[], Tokens]] = {
    "49k": tokens_49k,
    "151k": tokens_151k,
    "248k": tokens_248k,
}
MAX_TOKENS = 400  # of one instance
BATCH = 32
BATCH_STEPS = 40
TARGETS = {  # at 151k, in the units of the table
    "compile p50": 0.5,
    "compile p90": 2.0,
    "compile p99": 15.0,
    "first p50": 20.0,
    "first p90": 60.0,
    "cold p50": 3.0,
    "cold p99": 150.0,
    "cold max": 2000.0,
    "warm p50": 1.5,
    "warm p99": 3.0,
    "batch of 32": 150.0,
}
TARGETS_248K = {"cold p50": 4.0, "cold p99": 200.0}
REGEX_TARGETS = {"right": 33.0, "compile p50": 0.4, "compile max": 30.0}


@dataclass(slots=True, frozen=True)
class Case:
    """A schema as JSON text, and the text of an instance."""

    name: str
    schema: str
    instance: str


@dataclass(slots=True)
class Timings:
    """What one engine took on all cases: compilation in milliseconds, the rest in microseconds."""

    compile: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    accept: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    refused: int = 0
    rejected: int = 0
    bytes_per_grammar: float | None = None

    def row(self) -> dict[str, float]:
        found = {f"compile p{p}": percentile(self.compile, p) for p in (50, 90, 99, 100)}
        found |= {f"first p{p}": percentile(self.first, p) for p in (50, 90)}
        for name, values in (("cold", self.cold), ("warm", self.warm), ("accept", self.accept)):
            found |= {f"{name} p{p}": percentile(values, p) for p in (50, 99, 100)}
        found["batch of 32"] = percentile(self.batch, 50)
        found["refused"] = self.refused
        found["instances rejected"] = self.rejected
        found["kB a grammar"] = float("nan")
        if self.bytes_per_grammar is not None:
            found["kB a grammar"] = self.bytes_per_grammar / 1000
        return {name.replace("p100", "max"): value for name, value in found.items()}


def percentile(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def own_cases() -> list[Case]:
    cases = []
    for line in OWN_SCHEMAS.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        cases.append(Case(case["name"], json.dumps(case["schema"]), spelled(case["instance"])))
    return cases


def maskbench_cases(folder: Path, count: int) -> list[Case]:
    """Real schemas of MaskBench with their first valid instance, evenly over its subsets."""
    subsets: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*---*.json")):
        subset = path.name.partition("---")[0]
        if subset not in ("Handwritten", "Synthesized"):
            subsets.setdefault(subset, []).append(path)
    rng = random.Random(20251122)
    cases = []
    for paths in subsets.values():
        for path in rng.sample(paths, min(len(paths), -(-count // len(subsets)))):
            data = json.loads(path.read_text(encoding="utf-8"))
            valid = [test["data"] for test in data.get("tests", []) if test["valid"]]
            text = spelled(valid[0]) if valid else ""
            cases.append(Case(path.stem, json.dumps(data["schema"]), text))
    return cases


def spelled(instance: Any) -> str:
    return json.dumps(instance, ensure_ascii=False)


def clock_cost() -> float:
    """Microseconds that reading the clock twice adds to what lies between."""
    gaps = []
    for _ in range(10_000):
        start = time.thread_time_ns()
        gaps.append(time.thread_time_ns() - start)
    return float(np.median(gaps)) / 1000


def measure(engine: Engine, tokens: Tokens, cases: list[Case]) -> Timings:
    timings = Timings()
    grammars: list[tuple[Grammar, list[int]]] = []
    sizes = []
    overhead = clock_cost()
    engine.compile_regex("warm-?up")
    gc.collect()
    gc.disable()  # its pauses depend on what else the process holds
    for case in cases:
        if not ends_in_time(engine, case.schema):
            timings.refused += 1
            continue
        start = time.thread_time_ns()
        try:
            grammar = engine.compile_json_schema(case.schema)
        except Exception:  # each engine has its own errors for what it does not do
            timings.refused += 1
            continue
        timings.compile.append((time.thread_time_ns() - start) / 1e6)
        ids = tokens.encode(case.instance)[:MAX_TOKENS]
        cold, steps = follow(grammar, ids, engine.words)
        timings.rejected += len(cold) < len(ids)
        timings.first += [value - overhead for value in cold[:1]]
        timings.cold += [value - overhead for value in cold]
        timings.accept += [value - overhead for value in steps]
        warm, _ = follow(grammar, ids, engine.words)
        timings.warm += [value - overhead for value in warm]
        if len(ids) >= BATCH_STEPS and len(cold) == len(ids) and len(grammars) < BATCH:
            grammars.append((grammar, ids))
        if (size := grammar.memory_bytes()) is not None:
            sizes.append(size)
    timings.batch = list(batch_steps(engine, grammars))
    gc.enable()
    timings.bytes_per_grammar = sum(sizes) / len(sizes) if sizes else None
    return timings


def follow(grammar: Grammar, ids: list[int], words: int) -> tuple[list[float], list[float]]:
    """Microseconds of each mask and of each step, up to a token that is refused."""
    matcher = grammar.matcher()
    bitmask = np.zeros((1, words), np.int32)
    masks: list[float] = []
    steps: list[float] = []
    for token_id in ids:
        start = time.thread_time_ns()
        matcher.fill(bitmask, 0)
        masks.append((time.thread_time_ns() - start) / 1000)
        if not bitmask[0, token_id >> 5] >> (token_id & 31) & 1:
            return masks[:-1], steps
        start = time.thread_time_ns()
        accepted = matcher.accept(token_id)
        steps.append((time.thread_time_ns() - start) / 1000)
        assert accepted, "a token of the mask is refused"
    return masks, steps


def batch_steps(engine: Engine, grammars: list[tuple[Grammar, list[int]]]) -> Iterator[float]:
    """Microseconds of the masks of a whole batch, one step after another."""
    matchers = [grammar.matcher() for grammar, _ in grammars]
    bitmask = np.zeros((len(matchers), engine.words), np.int32)
    for step in range(BATCH_STEPS if matchers else 0):
        start = time.thread_time_ns()
        engine.fill_batch(matchers, bitmask)
        yield (time.thread_time_ns() - start) / 1000
        for matcher, (_, ids) in zip(matchers, grammars, strict=True):
            matcher.accept(ids[step])


def measure_regexes(engine: Engine, tokens: Tokens) -> dict[str, float]:
    """How many patterns an engine gets right, and what they take."""
    compiling: list[float] = []
    masks: list[float] = []
    right = 0
    overhead = clock_cost()
    engine.compile_regex("warm-?up")
    for case in REGEXES:
        start = time.thread_time_ns()
        try:
            grammar = engine.compile_regex(case.pattern)
        except Exception:  # each engine has its own errors for what it does not do
            continue
        compiling.append((time.thread_time_ns() - start) / 1e6)
        for text in case.yes:
            found, _ = follow(grammar, tokens.encode(text), engine.words)
            masks += [value - overhead for value in found]
        right += is_right(case, grammar, engine.words, tokens)
    return {
        "right": right,
        "compiled": len(compiling),
        "compile p50": percentile(compiling, 50),
        "compile max": percentile(compiling, 100),
        "mask p50": percentile(masks, 50),
        "mask p99": percentile(masks, 99),
        "mask max": percentile(masks, 100),
    }


def is_right(case: RegexCase, grammar: Grammar, words: int, tokens: Tokens) -> bool:
    """Whether exactly the texts that match can be written, with the end allowed after them."""

    def admits(text: str) -> bool:
        matcher = grammar.matcher()
        bitmask = np.zeros((1, words), np.int32)
        for token_id in (*tokens.encode(text), tokens.eos_token_id):
            matcher.fill(bitmask, 0)
            if not bitmask[0, token_id >> 5] >> (token_id & 31) & 1:
                return False
            if token_id != tokens.eos_token_id:
                matcher.accept(token_id)
        return True

    return all(map(admits, case.yes)) and not any(map(admits, case.no))


def print_table(title: str, rows: dict[str, dict[str, float]], targets: dict[str, float]) -> None:
    """One line a measure, one column an engine, and what is asked of ours."""
    print(f"\n{title} (compile in ms, masks and steps in us)\n")
    print("| | asked | " + " | ".join(rows) + " |")
    print("| --- " * (len(rows) + 2) + "|")
    for name in next(iter(rows.values())):
        asked = f"{targets[name]:g}" if name in targets else ""
        print(
            f"| {name} | {asked} | "
            + " | ".join(f"{row[name]:.4g}" for row in rows.values())
            + " |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", default="49k,151k")
    parser.add_argument("--engine", default="ours,llguidance,xgrammar,outlines")
    parser.add_argument("--schemas", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--regexes", action="store_true")
    parser.add_argument("--kept", type=Path)
    args = parser.parse_args()
    cases = maskbench_cases(args.schemas, args.count) if args.schemas else own_cases()
    for name in args.vocabulary.split(","):
        tokens = VOCABULARIES[name]()
        rows = {}
        for engine in engines(tokens, args.engine.split(","), args.kept):
            if args.regexes:
                rows[engine.name] = measure_regexes(engine, tokens)
            else:
                rows[engine.name] = measure(engine, tokens, cases).row()
            if isinstance(engine, Ours):
                engine.save()
            gc.collect()
        if args.regexes:
            print_table(f"{name} vocabulary, {len(REGEXES)} regexes", rows, REGEX_TARGETS)
        else:
            targets = TARGETS | (TARGETS_248K if name == "248k" else {})
            print_table(f"{name} vocabulary, {len(cases)} schemas", rows, targets)


if __name__ == "__main__":
    main()
