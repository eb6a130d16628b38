"""What the radix cache itself costs: matching, inserting, evicting, and bytes for a node.

    python -m benchmarks.radix_cache [--repeats 5] [--upstream-python PATH]

No model and no KV is involved. With ``--upstream-python``, an interpreter that can import sglang,
its RadixCache does the same beside ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess

from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.prefix_cache import InsertResult, MatchResult, RadixCache

from .radix_workloads import (
    BRANCHES,
    EVICTED,
    LEAVES,
    LONG_PROMPT,
    STEM,
    TAIL,
    Figures,
    Int32Array,
    measure,
)

Prompt = tuple[Int32Array, Int32Array]  # tokens and their slots


class Ours:
    def __init__(self, num_tokens: int) -> None:
        self._allocator = TokenAllocator(num_tokens + 1, page_size=1)
        self._cache = RadixCache(self._allocator)

    def prepare(self, tokens: Int32Array) -> Prompt:
        slots = self._allocator.alloc(len(tokens))
        assert slots is not None
        return tokens, slots

    def insert(self, prompt: Prompt) -> InsertResult:
        return self._cache.insert(*prompt)

    def match(self, prompt: Prompt) -> MatchResult:
        return self._cache.match_prefix(prompt[0])

    def evict(self, num_tokens: int) -> int:
        return self._cache.evict(num_tokens)

    def num_nodes(self) -> int:
        return self._cache.num_nodes


ROWS = {
    "long_match": f"match a cached prompt of {LONG_PROMPT:,} tokens, us",
    "long_insert": f"insert a prompt of {LONG_PROMPT:,} tokens, us",
    "stem_match": f"match among {BRANCHES:,} prompts along a stem of {STEM} tokens, us",
    "stem_insert": "insert there, us",
    "evict": f"evict {EVICTED:,} leaves of a tree of {LEAVES:,} nodes, us",
    "node_bytes": f"bytes a node there ({TAIL} tokens a leaf)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--upstream-python", metavar="PATH", help="an interpreter with sglang")
    args = parser.parse_args()
    columns = {"ours": measure(Ours, args.repeats)}
    if args.upstream_python:
        columns["sglang"] = upstream(args.upstream_python, args.repeats)
    print("| |", " | ".join(columns), "|")
    print("| --- |", " | ".join("---:" for _ in columns), "|")
    for name, text in ROWS.items():
        values = (f"{getattr(figures, name):,.1f}" for figures in columns.values())
        print(f"| {text} |", " | ".join(values), "|")


def upstream(python: str, repeats: int) -> Figures:
    command = [python, "-m", "benchmarks.radix_upstream", "--repeats", str(repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
