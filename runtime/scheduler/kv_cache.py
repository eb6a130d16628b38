"""Who owns which KV slot: slots for requests, and shared ones through the prefix cache."""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.host_tier import HostTier, KVLoad
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool
from sglang_lang.radix_cache.prefix_cache import (
    MatchResult,
    NoCache,
    PrefixCache,
    RadixCache,
)

from ..histogram import Histogram
from .req import Req

MOST_CHILDREN = 16  # of a node in a drawing of the tree
SAVE_SECONDS = 5.0  # for saving what is cached when the process ends


class KVCache:
    """Slots are free, owned by the tree, or owned by one running request; nothing else.

    A running request's row of the slot table starts with slots of the tree (locked through
    ``req.node``) and goes on with its own: see the picture in ``Req``.
    """

    def __init__(
        self,
        allocator: TokenAllocator,
        req_pool: ReqToTokenPool,
        prefix_cache: PrefixCache,
        tier: HostTier | None = None,
    ) -> None:
        self.allocator = allocator
        self.req_pool = req_pool
        self.prefix_cache = prefix_cache
        self.tier = tier
        self.page_size = allocator.page_size
        self.shares = not isinstance(prefix_cache, NoCache)
        self.evict_seconds = Histogram.empty()
        self._left_rows: list[int] = []  # of ended requests, maybe of a step in flight

    # ------------------------------------------------------------------ looking

    def available(self) -> int:
        """Slots that are free, or would be after evicting everything unlocked."""
        return self.allocator.available() + self.prefix_cache.evictable_size

    def free(self) -> int:
        """Slots that are free as it is."""
        return self.allocator.available()

    def is_filling(self, req: Req) -> bool:
        """Whether a running request has not offered all of its prompt to others yet."""
        return req.cached_len < req.prompt_len - req.prompt_len % self.page_size

    def cached_len(self, req: Req) -> int:
        """How many of the request's leading tokens are cached; counts as no use of them."""
        return self.prefix_cache.prefix_len(self._usable_prefix(req), req.request.extra_key)

    def owned_by_requests(self, running: list[Req]) -> int:
        """Slots that the requests hold beyond the tree's; whole pages."""
        page = self.page_size
        return sum(-(-req.alloc_len // page) * page - req.cached_len for req in running)

    @property
    def is_loading(self) -> bool:
        """Whether evicted KV is being read for a waiting request."""
        return self.tier is not None and self.tier.is_loading

    def counters(self) -> dict[str, object]:
        """What the cache and its tier have done so far."""
        stats = self.prefix_cache.stats
        counters: dict[str, object] = {
            "cache_hit_rate": stats.hit_rate,
            "cache_lookups": stats.lookups,
            "cache_lookup_tokens": stats.lookup_tokens,
            "cache_hit_tokens": stats.hit_tokens,
            "evicted_tokens": stats.evicted_tokens,
            "num_cached_nodes": self.prefix_cache.num_nodes,
        }
        if self.tier is not None:
            counters |= {
                f"kv_tier_{name}": value for name, value in asdict(self.tier.stats).items()
            }
            counters["kv_tier_bytes"] = self.tier.store.total_bytes
            counters["kv_tier_capacity_bytes"] = self.tier.store.capacity
        return counters

    def tree(self, most_nodes: int) -> dict[str, object]:
        """The top of the radix tree, for drawing."""
        snapshot = asdict(self.prefix_cache.snapshot(most_nodes, MOST_CHILDREN))
        return {**snapshot, "stats": self.counters()}

    # ------------------------------------------------------------------ a request's life

    def is_ready(self, req: Req) -> bool:
        """Whether a waiting request may be admitted now: what the tier holds of it has been read.

        Asks for it the first time, and when the cache has lost since what is before it.
        """
        if self.tier is None:
            return True
        cached_len = self.cached_len(req)
        if req.tier_load is None or cached_len < req.tier_load.start:
            tokens = self._usable_prefix(req)
            req.tier_load = self.tier.load(tokens, req.request.extra_key, cached_len)
        return req.tier_load is not None and req.tier_load.done

    def admit(self, req: Req) -> bool:
        """Give the request a row of the table that starts with its longest cached prefix.

        False if no row is free.
        """
        pool_idx = self.req_pool.alloc()
        if pool_idx is None:
            return False
        match = self.prefix_cache.match_prefix(self._usable_prefix(req), req.request.extra_key)
        self.prefix_cache.inc_lock_ref(match.node)
        matched = len(match.slots)
        load, req.tier_load = req.tier_load, None
        if load is not None and load.start <= matched < load.end:
            match = self._bring_back(req, match, load)
        prefix_len = len(match.slots)
        req.pool_idx, req.node = pool_idx, match.node
        req.cached_len = req.kv_len = req.alloc_len = prefix_len
        if not req.num_retractions:
            req.cached_tokens, req.host_tokens = prefix_len, prefix_len - matched
        self.req_pool.write(pool_idx, 0, match.slots)
        return True

    def grow(self, req: Req, length: int) -> bool:
        """Make sure that the request has slots for its first ``length`` tokens."""
        missing = length - req.alloc_len
        if missing <= 0:
            return True
        assert req.pool_idx is not None
        last_slot = None
        if req.alloc_len:
            last = req.alloc_len - 1
            last_slot = int(self.req_pool.slots(req.pool_idx, last, req.alloc_len)[0])
        slots = self._alloc(last_slot, req.alloc_len, missing)
        if slots is None:
            return False
        self.req_pool.write(req.pool_idx, req.alloc_len, slots)
        req.alloc_len = length
        return True

    def grow_by_one(self, reqs: list[Req]) -> bool:
        """A slot for the next token of every request; all get one or none does."""
        if not reqs:
            return True
        rows = np.array([req.pool_idx for req in reqs], dtype=np.int32)
        lens = np.array([req.alloc_len for req in reqs], dtype=np.int32)
        last_slots = self.req_pool.read_batch(rows, lens - 1)
        slots = self.allocator.alloc_decode(last_slots, lens)
        if slots is None:
            pages = int(np.count_nonzero(lens % self.page_size == 0))
            self._evict(pages * self.page_size - self.allocator.available())
            slots = self.allocator.alloc_decode(last_slots, lens)
            if slots is None:
                return False
        self.req_pool.write_batch(rows, lens, slots)
        for req in reqs:
            req.alloc_len += 1
        return True

    def publish(self, req: Req) -> None:
        """Hand the request's computed KV to the tree, so that others share it from now on.

        Of a request that goes on, only what stays as it is.

        intervals, p = what the tree held already::

            0        cached_len        p          aligned kv_len   alloc_len
            |-- tree's --|-- duplicate --|-- handed over --|-- own --|
                          freed; the row takes the tree's slots
        """
        assert req.pool_idx is not None and req.node is not None
        length = min(req.kv_len, len(req.tokens) if req.finish else req.settled_len)
        end = length - length % self.page_size
        if end <= req.cached_len:
            return
        tokens = req.token_array(end)
        slots = self.req_pool.slots(req.pool_idx, 0, end).copy()
        held = self.prefix_cache.insert(
            tokens, slots, extra_key=req.request.extra_key, priority=req.request.priority
        )
        self.prefix_cache.inc_lock_ref(held.node)
        self.prefix_cache.dec_lock_ref(req.node)
        if held.prefix_len > req.cached_len:
            shared = self.prefix_cache.path_slots(held.node)[: held.prefix_len]
            self.req_pool.write(req.pool_idx, 0, shared)
            self.allocator.free(slots[req.cached_len : held.prefix_len])
        req.node = held.node
        req.cached_len = end

    def release(self, req: Req) -> None:
        """Take everything back from a finished, aborted or retracted request.

        What is computed goes to the tree first: it costs nothing until the room is needed.
        """
        assert req.pool_idx is not None and req.node is not None
        if self.shares:
            self.publish(req)
        own = self.req_pool.slots(req.pool_idx, req.cached_len, req.alloc_len)
        self.allocator.free(own.copy())
        self.prefix_cache.dec_lock_ref(req.node)
        self._left_rows.append(req.pool_idx)
        req.pool_idx, req.node = None, None
        req.kv_len = req.cached_len = req.alloc_len = 0

    def reclaim_rows(self) -> None:
        """Let new requests have the rows that were left: no step in flight reads them any more.

        A step that was launched before its request ended still computes KV that the tree holds.
        """
        for pool_idx in self._left_rows:
            self.req_pool.free(pool_idx)
        self._left_rows.clear()

    # ------------------------------------------------------------------ all requests

    def pin(self, tokens: list[int], extra_key: str | None) -> int | None:
        """Keep the cached prefix of ``tokens``, and return its length.

        None, and nothing is pinned, if a request of full length would then no longer fit.
        """
        cache, page = self.prefix_cache, self.page_size
        longest = self.req_pool.max_context_len + page
        wanted = cache.pinned_size + cache.prefix_len(tokens, extra_key)
        if wanted + longest > self.allocator.capacity:
            return None
        return cache.pin(tokens, extra_key)

    def reset(self) -> None:
        """Forget all cached KV; no request may be running."""
        self.prefix_cache.reset()
        if self.tier is not None:
            self.tier.clear()

    def close(self, save: bool) -> None:
        """Let go of the tier's files; ``save`` puts all cached KV there first, for a restart."""
        if self.tier is None:
            return
        if save and self.tier.store.persistent and isinstance(self.prefix_cache, RadixCache):
            self.tier.save_all(self.prefix_cache.spans(), SAVE_SECONDS)
        self.tier.close()

    # ------------------------------------------------------------------ parts

    def _bring_back(self, req: Req, match: MatchResult, load: KVLoad) -> MatchResult:
        """Extend a locked match with what was evicted; the lock moves to the longer one."""
        cache, tier = self.prefix_cache, self.tier
        assert tier is not None
        start = len(match.slots)
        fresh = self._alloc(int(match.slots[-1]) if start else None, start, load.end - start)
        if fresh is None:
            return match
        tier.restore(load, start, fresh)
        cache.stats.hit_tokens += len(fresh)
        slots = np.concatenate((match.slots, fresh))
        tokens, request = req.token_array(load.end), req.request
        held = cache.insert(tokens, slots, request.extra_key, request.priority)
        assert held.prefix_len == start, f"{held.prefix_len} tokens were cached, not {start}"
        cache.inc_lock_ref(held.node)
        cache.dec_lock_ref(match.node)
        return MatchResult(slots, held.node)

    def _usable_prefix(self, req: Req) -> npt.NDArray[np.int32]:
        return req.token_array(req.longest_usable_prefix)

    def _evict(self, num_tokens: int) -> None:
        begin = time.perf_counter()
        self.prefix_cache.evict(num_tokens)
        self.evict_seconds.add(time.perf_counter() - begin)

    def _alloc(
        self, last_slot: int | None, prefix_len: int, count: int
    ) -> npt.NDArray[np.int32] | None:
        """``TokenAllocator.alloc_extend``, evicting what it takes."""
        slots = self.allocator.alloc_extend(last_slot, prefix_len, count)
        if slots is None:
            self._evict(count + self.page_size - self.allocator.available())
            slots = self.allocator.alloc_extend(last_slot, prefix_len, count)
        return slots
