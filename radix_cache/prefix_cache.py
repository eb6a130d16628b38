"""The prefix cache: what the scheduler asks for cached KV, and gives finished KV to.

A request's way through it, with ``tokens`` the ids whose KV is computed and ``slots`` theirs:

    match = cache.match_prefix(tokens)            # match.slots hold the first len(match.slots)
    cache.inc_lock_ref(match.node)                # before anything else may evict them
    ...                                           # compute the rest into slots of the allocator
    result = cache.insert(tokens, slots)          # the tree owns whole pages from here on
    allocator.free(slots[len(match.slots) : result.prefix_len])   # someone else was first
    allocator.free(slots[len(tokens) // page_size * page_size :]) # the page not filled
    cache.dec_lock_ref(match.node)

When the allocator has too little, ``cache.evict(n)`` gives slots of unlocked leaves back to it.
A request that goes on after ``insert`` (a chunk of its prompt is done) matches again, takes the
tree's slots for its own, and moves its lock to the new node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from .allocator import TokenAllocator
from .eviction import EvictionQueue, eviction_policy
from .radix_tree import TOKEN_BYTES, Int32Array, RadixTree, Span, TokenIds, TreeNode
from .snapshot import TreeSnapshot, take_snapshot

__all__ = ["CacheStats", "InsertResult", "MatchResult", "NoCache", "PrefixCache", "RadixCache"]


class MatchResult(NamedTuple):
    slots: Int32Array  # [prefix_len], read-only
    node: TreeNode


class InsertResult(NamedTuple):
    prefix_len: int  # tokens that the cache had before, for which it did not take the slots
    node: TreeNode


class _Pin(NamedTuple):
    node: TreeNode
    num_tokens: int


@dataclass(slots=True)
class CacheStats:
    """Totals since the cache was made."""

    lookups: int = 0
    lookup_tokens: int = 0
    hit_tokens: int = 0
    inserted_tokens: int = 0
    evicted_tokens: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the tokens asked for that were cached."""
        return self.hit_tokens / self.lookup_tokens if self.lookup_tokens else 0.0


class PrefixCache(Protocol):
    """What a scheduler may ask of a cache of prefixes. Lengths are in tokens, whole pages."""

    page_size: int
    stats: CacheStats

    @property
    def total_size(self) -> int: ...

    @property
    def evictable_size(self) -> int: ...

    @property
    def protected_size(self) -> int: ...

    @property
    def num_nodes(self) -> int: ...

    def prefix_len(self, token_ids: TokenIds, extra_key: str | None = None) -> int:
        """How much of a sequence is cached, for ordering a queue: counts as no use of it."""
        ...

    def match_prefix(self, token_ids: TokenIds, extra_key: str | None = None) -> MatchResult:
        """The longest cached prefix; lock its node before the next ``evict``."""
        ...

    def insert(
        self,
        token_ids: TokenIds,
        slots: Int32Array,
        extra_key: str | None = None,
        priority: int = 0,
    ) -> InsertResult:
        """Hand over the slots of a sequence, whole pages of it.

        The cache owns ``slots[result.prefix_len : aligned_len]`` from then on; the caller keeps
        and frees the others that are its own.
        """
        ...

    def evict(self, num_tokens: int) -> int:
        """Free at least this many tokens into the allocator; returns how many it could."""
        ...

    def path_slots(self, node: TreeNode) -> Int32Array:
        """The slots of the sequence that ends with ``node``; counts as no use of it."""
        ...

    def inc_lock_ref(self, node: TreeNode) -> None:
        """Keep the path to ``node`` until the matching ``dec_lock_ref``."""
        ...

    def dec_lock_ref(self, node: TreeNode) -> None: ...

    def pin(self, token_ids: TokenIds, extra_key: str | None = None) -> int:
        """Keep the longest cached prefix until ``unpin`` or ``reset``; returns its length.

        Pinning the same tokens again extends the pin to what is cached by then.
        """
        ...

    def unpin(self, token_ids: TokenIds, extra_key: str | None = None) -> bool:
        """Take a ``pin`` of the same tokens back; False if there is none."""
        ...

    @property
    def pinned_size(self) -> int:
        """Tokens pinned; those under several pins count for each."""
        ...

    def reset(self) -> None:
        """Forget everything, pins too, and free its slots. No lock may be held."""
        ...

    def snapshot(self, most_nodes: int, most_children: int) -> TreeSnapshot:
        """The top of the tree, for drawing; see snapshot.py."""
        ...

    def check_integrity(self) -> None:
        """AssertionError when an invariant is broken. Walks the whole tree."""
        ...


class RadixCache:
    """Shares KV between all sequences with a common prefix, in one namespace each ``extra_key``.

    Args:
        allocator: where evicted slots go; its page size is the tree's.
        eviction: name of the policy, see eviction.py.
        on_evict: told what is evicted while its slots still hold it; a host tier keeps it.
    """

    def __init__(
        self,
        allocator: TokenAllocator,
        eviction: str = "lru",
        on_evict: Callable[[list[Span]], None] | None = None,
    ) -> None:
        self.page_size = allocator.page_size
        self.stats = CacheStats()
        self._allocator = allocator
        self._eviction = eviction
        self._on_evict = on_evict
        self._start_empty()

    def _start_empty(self) -> None:
        self._queue = EvictionQueue(eviction_policy(self._eviction))
        self._tree = RadixTree(self.page_size, on_evictable=self._queue.push)
        self._pins: dict[tuple[str | None, bytes], _Pin] = {}
        self.pinned_size = 0

    @property
    def total_size(self) -> int:
        return self._tree.total_size

    @property
    def evictable_size(self) -> int:
        return self._tree.evictable_size

    @property
    def protected_size(self) -> int:
        return self._tree.protected_size

    @property
    def num_nodes(self) -> int:
        return self._tree.num_nodes

    def prefix_len(self, token_ids: TokenIds, extra_key: str | None = None) -> int:
        return self._tree.prefix_len(self._tree.key_of(token_ids), extra_key)

    def match_prefix(self, token_ids: TokenIds, extra_key: str | None = None) -> MatchResult:
        slots, node = self._tree.match(self._tree.key_of(token_ids), extra_key)
        self._queue.accessed(node)
        stats = self.stats
        stats.lookups += 1
        stats.lookup_tokens += len(token_ids)
        stats.hit_tokens += len(slots) // TOKEN_BYTES
        return MatchResult(np.frombuffer(slots, dtype=np.int32), node)

    def insert(
        self,
        token_ids: TokenIds,
        slots: Int32Array,
        extra_key: str | None = None,
        priority: int = 0,
    ) -> InsertResult:
        if len(slots) < len(token_ids):
            raise ValueError(f"{len(token_ids)} tokens but only {len(slots)} slots")
        key = self._tree.key_of(token_ids)
        values = slots[: len(key) // TOKEN_BYTES].astype(np.int32, copy=False).tobytes()
        prefix_bytes, node = self._tree.insert(key, values, extra_key)
        node.priority = max(node.priority, priority)
        if prefix_bytes == len(key):
            self._queue.accessed(node)
        else:
            self._queue.created(node)
            self.stats.inserted_tokens += len(node)
        return InsertResult(prefix_bytes // TOKEN_BYTES, node)

    def evict(self, num_tokens: int) -> int:
        freed: list[bytes] = []
        spans: list[Span] = []
        missing = -(-num_tokens // self.page_size) * self.page_size
        while missing > 0 and (leaf := self._queue.pop()) is not None:
            keep = len(leaf) - missing
            if self._on_evict is not None:
                spans.append(self._tree.span(leaf, max(keep, 0)))
            if keep > 0:
                freed.append(leaf.slots[keep * TOKEN_BYTES :])
                self._tree.truncate(leaf, keep)
                self._queue.push(leaf)
                break
            freed.append(leaf.slots)
            self._tree.remove(leaf)
            missing = -keep
        if self._on_evict is not None and spans:
            self._on_evict(spans)
        slots = np.frombuffer(b"".join(freed), dtype=np.int32)
        self._allocator.free(slots)
        self.stats.evicted_tokens += len(slots)
        return len(slots)

    def path_slots(self, node: TreeNode) -> Int32Array:
        return np.frombuffer(self._tree.span(node).slots, dtype=np.int32)

    def inc_lock_ref(self, node: TreeNode) -> None:
        self._tree.lock(node)

    def dec_lock_ref(self, node: TreeNode) -> None:
        self._tree.unlock(node)

    def pin(self, token_ids: TokenIds, extra_key: str | None = None) -> int:
        key = self._tree.key_of(token_ids)
        slots, node = self._tree.match(key, extra_key)
        self._tree.lock(node)
        self._unpin(extra_key, key)
        num_tokens = len(slots) // TOKEN_BYTES
        self._pins[extra_key, key] = _Pin(node, num_tokens)
        self.pinned_size += num_tokens
        return num_tokens

    def unpin(self, token_ids: TokenIds, extra_key: str | None = None) -> bool:
        return self._unpin(extra_key, self._tree.key_of(token_ids))

    def _unpin(self, extra_key: str | None, key: bytes) -> bool:
        pin = self._pins.pop((extra_key, key), None)
        if pin is None:
            return False
        self.pinned_size -= pin.num_tokens
        self._tree.unlock(pin.node)
        return True

    def reset(self) -> None:
        for extra_key, key in list(self._pins):
            self._unpin(extra_key, key)
        assert self.protected_size == 0, f"reset with {self.protected_size} tokens locked"
        held = b"".join(node.slots for node in self._tree.nodes())
        self._allocator.free(np.frombuffer(held, dtype=np.int32))
        self._start_empty()

    def snapshot(self, most_nodes: int, most_children: int) -> TreeSnapshot:
        return take_snapshot(self._tree, self._queue.policy, most_nodes, most_children)

    def spans(self) -> Iterator[Span]:
        """Every cached sequence that is no prefix of another, the one used last first."""
        leaves = [node for node in self._tree.nodes() if not node.children]
        for leaf in sorted(leaves, key=lambda node: -node.last_access):
            yield self._tree.span(leaf)._replace(start=0)

    def check_integrity(self) -> None:
        self._tree.check_integrity()
        held = [node.slots for node in self._tree.nodes()]
        slots = np.frombuffer(b"".join(held), dtype=np.int32)
        assert len(np.unique(slots)) == len(slots), "a slot is in the tree twice"
        assert self._allocator.is_allocated(slots), "a slot of the tree is free as well"
        for node in self._tree.nodes():
            assert node.queued or not node.is_evictable, "an evictable leaf would never be evicted"


class NoCache:
    """Shares nothing, with the verbs of a cache.

    ``insert`` says that it had every page before, so that the caller frees its slots itself.
    """

    def __init__(self, page_size: int = 1) -> None:
        self.page_size = page_size
        self.stats = CacheStats()
        self.total_size = self.evictable_size = self.protected_size = self.pinned_size = 0
        self.num_nodes = 0
        self._root = TreeNode(None, b"", b"", b"")

    def prefix_len(self, token_ids: TokenIds, extra_key: str | None = None) -> int:
        return 0

    def match_prefix(self, token_ids: TokenIds, extra_key: str | None = None) -> MatchResult:
        self.stats.lookups += 1
        self.stats.lookup_tokens += len(token_ids)
        return MatchResult(np.empty(0, dtype=np.int32), self._root)

    def insert(
        self,
        token_ids: TokenIds,
        slots: Int32Array,
        extra_key: str | None = None,
        priority: int = 0,
    ) -> InsertResult:
        return InsertResult(len(token_ids) // self.page_size * self.page_size, self._root)

    def evict(self, num_tokens: int) -> int:
        return 0

    def path_slots(self, node: TreeNode) -> Int32Array:
        return np.empty(0, dtype=np.int32)

    def pin(self, token_ids: TokenIds, extra_key: str | None = None) -> int:
        return 0

    def unpin(self, token_ids: TokenIds, extra_key: str | None = None) -> bool:
        return False

    def inc_lock_ref(self, node: TreeNode) -> None:
        pass

    def dec_lock_ref(self, node: TreeNode) -> None:
        pass

    def reset(self) -> None:
        pass

    def snapshot(self, most_nodes: int, most_children: int) -> TreeSnapshot:
        return TreeSnapshot(self.page_size, 0, 0, 0, 0, [])

    def check_integrity(self) -> None:
        pass
