"""Who owns which KV slot: slots for requests, and shared ones through the prefix cache."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool
from sglang_lang.radix_cache.prefix_cache import NoCache, PrefixCache

from .req import Req


class KVCache:
    """Slots are free, owned by the tree, or owned by one running request; nothing else.

    A running request's row of the slot table starts with slots of the tree (locked through
    ``req.node``) and goes on with its own: see the picture in ``Req``.
    """

    def __init__(
        self, allocator: TokenAllocator, req_pool: ReqToTokenPool, prefix_cache: PrefixCache
    ) -> None:
        self.allocator = allocator
        self.req_pool = req_pool
        self.prefix_cache = prefix_cache
        self.page_size = allocator.page_size
        self.shares = not isinstance(prefix_cache, NoCache)
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

    # ------------------------------------------------------------------ a request's life

    def admit(self, req: Req) -> bool:
        """Give the request a row of the table that starts with its longest cached prefix.

        False if no row is free.
        """
        pool_idx = self.req_pool.alloc()
        if pool_idx is None:
            return False
        match = self.prefix_cache.match_prefix(self._usable_prefix(req), req.request.extra_key)
        self.prefix_cache.inc_lock_ref(match.node)
        prefix_len = len(match.slots)
        req.pool_idx, req.node = pool_idx, match.node
        req.cached_len = req.kv_len = req.alloc_len = prefix_len
        if not req.num_retractions:
            req.cached_tokens = prefix_len
        self.req_pool.write(pool_idx, 0, match.slots)
        return True

    def grow(self, req: Req, length: int) -> bool:
        """Make sure that the request has slots for its first ``length`` tokens."""
        missing = length - req.alloc_len
        if missing <= 0:
            return True
        assert req.pool_idx is not None
        slots = self._alloc(req, missing)
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
            self.prefix_cache.evict(pages * self.page_size - self.allocator.available())
            slots = self.allocator.alloc_decode(last_slots, lens)
            if slots is None:
                return False
        self.req_pool.write_batch(rows, lens, slots)
        for req in reqs:
            req.alloc_len += 1
        return True

    def publish(self, req: Req) -> None:
        """Hand the request's computed KV to the tree, so that others share it from now on.

        intervals, p = what the tree held already::

            0        cached_len        p          aligned kv_len   alloc_len
            |-- tree's --|-- duplicate --|-- handed over --|-- own --|
                          freed; the row takes the tree's slots
        """
        assert req.pool_idx is not None and req.node is not None
        length = min(req.kv_len, len(req.tokens))
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
            match = self.prefix_cache.match_prefix(tokens, extra_key=req.request.extra_key)
            self.req_pool.write(req.pool_idx, 0, match.slots[: held.prefix_len])
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

    # ------------------------------------------------------------------ parts

    def _usable_prefix(self, req: Req) -> npt.NDArray[np.int32]:
        return req.token_array(req.longest_usable_prefix)

    def _alloc(self, req: Req, count: int) -> npt.NDArray[np.int32] | None:
        last_slot = None
        if req.alloc_len:
            assert req.pool_idx is not None
            last_slot = int(self.req_pool.slots(req.pool_idx, req.alloc_len - 1, req.alloc_len)[0])
        slots = self.allocator.alloc_extend(last_slot, req.alloc_len, count)
        if slots is None:
            self.prefix_cache.evict(count + self.page_size - self.allocator.available())
            slots = self.allocator.alloc_extend(last_slot, req.alloc_len, count)
        return slots
