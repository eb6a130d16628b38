"""What the radix cache itself costs: matching, inserting, evicting, and bytes for a node.

    python -m benchmarks.radix_cache [--repeats 5]

Prints the best of the repeats, in microseconds for one operation; no model and no KV is involved.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from sglang_lang.radix_cache.allocator import Int32Array, TokenAllocator
from sglang_lang.radix_cache.prefix_cache import RadixCache

LONG_PROMPT = 32_768
STEM = 200
BRANCHES = 20_000
TAIL = 20
PROBES = 1_000


def cache_for(num_tokens: int) -> tuple[RadixCache, TokenAllocator]:
    allocator = TokenAllocator(num_tokens + 1, page_size=1)
    return RadixCache(allocator), allocator


def add(cache: RadixCache, allocator: TokenAllocator, tokens: Int32Array) -> None:
    slots = allocator.alloc(len(tokens))
    assert slots is not None
    result = cache.insert(tokens, slots)
    allocator.free(slots[: result.prefix_len])


def random_tokens(rng: np.random.Generator, count: int) -> Int32Array:
    return rng.integers(0, 100_000, count, dtype=np.int32)


def branches(rng: np.random.Generator, count: int) -> list[Int32Array]:
    """Prompts that follow one stem for a random while, then go their own way."""
    stem = random_tokens(rng, STEM)
    return [
        np.concatenate((stem[: rng.integers(1, STEM + 1)], random_tokens(rng, TAIL)))
        for _ in range(count)
    ]


def microseconds(operation: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    operation()
    return (time.perf_counter() - start) * 1e6 / count


def long_prompt(rng: np.random.Generator) -> tuple[float, float]:
    """Microseconds to insert a long prompt, and to match it once it is cached."""
    cache, allocator = cache_for(LONG_PROMPT)
    tokens = random_tokens(rng, LONG_PROMPT)
    slots = allocator.alloc(LONG_PROMPT)
    assert slots is not None
    insert = microseconds(lambda: cache.insert(tokens, slots), 1)
    match = microseconds(lambda: [cache.match_prefix(tokens) for _ in range(100)], 100)
    return match, insert


def branching(rng: np.random.Generator) -> tuple[float, float, float]:
    """Microseconds to match and to insert on the branching tree, and bytes for a node of it."""
    prompts = branches(rng, BRANCHES + PROBES)
    cache, allocator = cache_for((BRANCHES + PROBES) * (STEM + TAIL))
    new_slots = [np.arange(len(prompt), dtype=np.int32) for prompt in prompts[BRANCHES:]]
    tracemalloc.start()
    for prompt in prompts[:BRANCHES]:
        add(cache, allocator, prompt)
    node_bytes = tracemalloc.get_traced_memory()[0] / cache.num_nodes
    tracemalloc.stop()
    known = [prompts[i] for i in rng.integers(0, BRANCHES, PROBES)]
    match = microseconds(lambda: [cache.match_prefix(prompt) for prompt in known], PROBES)
    new = list(zip(prompts[BRANCHES:], new_slots, strict=True))
    insert = microseconds(lambda: [cache.insert(*pair) for pair in new], PROBES)
    return match, insert, node_bytes


def evicting(rng: np.random.Generator) -> float:
    """Microseconds to evict 1,000 leaves of a tree of 100,000 nodes."""
    leaves = 100_000
    cache, allocator = cache_for(leaves * TAIL)
    for first in range(leaves):
        tokens = random_tokens(rng, TAIL)
        tokens[0] = first
        add(cache, allocator, tokens)
    return microseconds(lambda: cache.evict(1_000 * TAIL), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    match, insert = np.min([long_prompt(rng) for _ in range(repeats)], axis=0)
    print(f"{LONG_PROMPT:,} tokens: match {match:.1f} us, insert {insert:.1f} us")
    match, insert, node_bytes = np.min([branching(rng) for _ in range(repeats)], axis=0)
    print(f"{BRANCHES:,} prompts along a stem of {STEM}: match {match:.1f} us, ", end="")
    print(f"insert {insert:.1f} us, {node_bytes:.0f} bytes a node with {TAIL} tokens a leaf")
    evict = min(evicting(rng) for _ in range(repeats))
    print(f"evict 1,000 leaves of 100,000 nodes: {evict / 1000:.2f} ms")


if __name__ == "__main__":
    main()
