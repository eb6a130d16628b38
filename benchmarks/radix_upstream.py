"""Runs ``radix_workloads.py`` on sglang's own RadixCache; started by ``radix_cache.py``.

Its eviction is given an allocator that does nothing, so that only the tree's own work counts.
"""

from __future__ import annotations

import argparse
import json
from array import array
from dataclasses import asdict
from typing import Any

import torch
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey

from benchmarks.radix_workloads import Int32Array, measure


class NoAllocator:
    device = torch.device("cpu")

    def free_segment(self, value: torch.Tensor, start_pos: int) -> None:
        pass


class Upstream:
    def __init__(self, num_tokens: int) -> None:
        self._cache = RadixCache.create_simulated(mock_allocator=NoAllocator())

    def prepare(self, tokens: Int32Array) -> Any:
        return array("q", tokens.tolist()), torch.arange(len(tokens), dtype=torch.int64)

    def insert(self, prompt: Any) -> object:
        token_ids, slots = prompt
        return self._cache.insert(InsertParams(key=RadixKey(token_ids), value=slots))

    def match(self, prompt: Any) -> object:
        return self._cache.match_prefix(MatchPrefixParams(key=RadixKey(prompt[0])))

    def evict(self, num_tokens: int) -> object:
        return self._cache.evict(EvictParams(num_tokens=num_tokens))

    def num_nodes(self) -> int:
        pending, count = [self._cache.root_node], -1
        while pending:
            pending.extend(pending.pop().children.values())
            count += 1
        return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, required=True)
    torch.set_num_threads(1)
    print(json.dumps(asdict(measure(Upstream, parser.parse_args().repeats))))
