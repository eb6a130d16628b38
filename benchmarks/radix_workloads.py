"""What a radix cache is asked to do in ``radix_cache.py``; needs numpy alone.

Times are of the calling thread's own CPU, the best of the repeats.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]

LONG_PROMPT = 32_768
STEM = 200
BRANCHES = 20_000
TAIL = 20
PROBES = 1_000
LEAVES = 100_000
EVICTED = 1_000


class Subject(Protocol):
    """A cache under test. ``prepare`` gives a prompt the form in which its scheduler has it."""

    def prepare(self, tokens: Int32Array) -> Any: ...

    def insert(self, prompt: Any) -> object: ...

    def match(self, prompt: Any) -> object: ...

    def evict(self, num_tokens: int) -> object: ...

    def num_nodes(self) -> int: ...


Make = Callable[[int], Subject]  # of the tokens it has room for


@dataclass(slots=True)
class Figures:
    """Microseconds an operation, but for the last: bytes a node, slots and tokens included."""

    long_match: float
    long_insert: float
    stem_match: float
    stem_insert: float
    evict: float
    node_bytes: float


def measure(make: Make, repeats: int) -> Figures:
    rng = np.random.default_rng(0)
    node_bytes = memory(make, rng)
    long_match, long_insert = best([long_prompt(make, rng) for _ in range(repeats)])
    stem_match, stem_insert = best([branching(make, rng) for _ in range(repeats)])
    evict = min(evicting(make, rng) for _ in range(repeats))
    return Figures(long_match, long_insert, stem_match, stem_insert, evict, node_bytes)


def best(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The least of each column."""
    return min(first for first, _ in pairs), min(second for _, second in pairs)


def random_tokens(rng: np.random.Generator, count: int) -> Int32Array:
    return rng.integers(0, 100_000, count, dtype=np.int32)


def branches(rng: np.random.Generator, count: int) -> list[Int32Array]:
    """Prompts that follow one stem for a random while, then go their own way."""
    stem = random_tokens(rng, STEM)
    return [
        np.concatenate((stem[: rng.integers(1, STEM + 1)], random_tokens(rng, TAIL)))
        for _ in range(count)
    ]


def microseconds(operation: Callable[[Any], object], arguments: list[Any]) -> float:
    """Mean over the arguments."""
    gc.collect()
    start = time.thread_time()
    for argument in arguments:
        operation(argument)
    return (time.thread_time() - start) * 1e6 / len(arguments)


def long_prompt(make: Make, rng: np.random.Generator) -> tuple[float, float]:
    """To match a long prompt that is cached, and to insert one that is not."""
    count = 20
    cache = make(count * LONG_PROMPT)
    prompts = [cache.prepare(random_tokens(rng, LONG_PROMPT)) for _ in range(count)]
    insert = microseconds(cache.insert, prompts)
    return microseconds(cache.match, prompts * 10), insert


def branching(make: Make, rng: np.random.Generator) -> tuple[float, float]:
    """To match and to insert on a tree of many prompts along one stem."""
    cache = make((BRANCHES + PROBES) * (STEM + TAIL))
    prompts = [cache.prepare(tokens) for tokens in branches(rng, BRANCHES + PROBES)]
    for prompt in prompts[:BRANCHES]:
        cache.insert(prompt)
    known = [prompts[i] for i in rng.integers(0, BRANCHES, PROBES)]
    match = microseconds(cache.match, known)
    return match, microseconds(cache.insert, prompts[BRANCHES:])


def evicting(make: Make, rng: np.random.Generator) -> float:
    """To evict many leaves of a tree of very many, a hundred times as many tokens as one step."""
    cache = make(LEAVES * TAIL)
    for first in range(LEAVES):
        tokens = random_tokens(rng, TAIL)
        tokens[0] = first
        cache.insert(cache.prepare(tokens))
    return microseconds(cache.evict, [EVICTED * TAIL])


def memory(make: Make, rng: np.random.Generator) -> float:
    """How much the process grows for a node of the branching tree."""
    cache = make(BRANCHES * (STEM + TAIL))
    prompts = [cache.prepare(tokens) for tokens in branches(rng, BRANCHES)]
    gc.collect()
    before = resident_bytes()
    for prompt in prompts:
        cache.insert(prompt)
    return (resident_bytes() - before) / cache.num_nodes()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
