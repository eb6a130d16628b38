"""Which cached leaf goes first: one small class a policy, and the queue that keeps their order."""

from __future__ import annotations

import heapq
import time
from collections import deque
from typing import Any, Protocol

from .radix_tree import TreeNode

Rank = tuple[float, ...]


class EvictionPolicy(Protocol):
    """Gives leaves a rank; the lowest goes first.

    The rank of a node may rise while it is in the tree and must never fall: the queue then needs
    no update when a node is used.
    """

    def now(self) -> float:
        """The time stamp of an access; never falls."""
        ...

    def rank(self, node: TreeNode) -> Rank: ...

    def idle_seconds(self, node: TreeNode) -> float | None:
        """Since the last access; None where the stamps are no time."""
        ...

    def evicted(self, rank: Rank) -> None:
        """Told the rank of each leaf that goes."""
        ...


class _WallClock:
    """Stamps of time, for the policies that do not learn from what they evict."""

    def now(self) -> float:
        return time.monotonic()

    def idle_seconds(self, node: TreeNode) -> float | None:
        return time.monotonic() - node.last_access

    def evicted(self, rank: Rank) -> None:
        pass


class LeastRecentlyUsed(_WallClock):
    def rank(self, node: TreeNode) -> Rank:
        return (node.last_access,)


class LeastFrequentlyUsed(_WallClock):
    def rank(self, node: TreeNode) -> Rank:
        return (node.hit_count, node.last_access)


class FirstInFirstOut(_WallClock):
    def rank(self, node: TreeNode) -> Rank:
        return (node.created,)


class LowestPriority(_WallClock):
    """What was inserted with the lowest priority goes first, the least recently used among it."""

    def rank(self, node: TreeNode) -> Rank:
        return (node.priority, node.last_access)


class GreedyDualSize:
    """One large leaf goes before many small ones, unless it is used so much more often.

    Greedy-Dual-Size-Frequency with equal cost for every miss: Cherkasova, "Improving WWW Proxies
    Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs HPL-98-69 (1998),
    section 3. Its clock is the rank of the last eviction, which ages what is not used.
    """

    def __init__(self) -> None:
        self._inflation = 0.0

    def now(self) -> float:
        return self._inflation

    def idle_seconds(self, node: TreeNode) -> float | None:
        return None

    def rank(self, node: TreeNode) -> Rank:
        return (node.last_access + (1 + node.hit_count) / len(node),)

    def evicted(self, rank: Rank) -> None:
        self._inflation = max(self._inflation, rank[0])


_POLICIES: dict[str, type[EvictionPolicy]] = {
    "lru": LeastRecentlyUsed,
    "lfu": LeastFrequentlyUsed,
    "fifo": FirstInFirstOut,
    "priority": LowestPriority,
    "size": GreedyDualSize,
}


def eviction_policy(name: str) -> EvictionPolicy:
    """The policy called ``name``; ValueError names the choices."""
    if name not in _POLICIES:
        raise ValueError(f"unknown eviction policy {name!r}; choose one of {', '.join(_POLICIES)}")
    return _POLICIES[name]()


class EvictionQueue:
    """Evictable leaves in the order of a policy.

    One entry for each queued node, corrected only when it comes up: an entry whose node was used
    since is put back at its new rank, one whose node is no longer evictable is dropped. As ranks
    only rise, the first entry that is up to date is the lowest of all.

    New leaves mostly rank behind all others. Entries that come in this order line up in ``_run``,
    where each costs the same however many there are; only the others need a heap.
    """

    def __init__(self, policy: EvictionPolicy) -> None:
        self.policy = policy
        # Flat entries (*rank, number, node): flat tuples compare faster than nested
        # ones. The number breaks ties, so that nodes are never compared.
        self._run: deque[tuple[Any, ...]] = deque()
        self._heap: list[tuple[Any, ...]] = []
        self._num_pushed = 0

    def push(self, node: TreeNode) -> None:
        """Queue a node that has become an unlocked leaf."""
        if node.queued:
            return
        node.queued = True
        self._num_pushed += 1
        self._put((*self.policy.rank(node), self._num_pushed, node))

    def created(self, node: TreeNode) -> None:
        """Stamp a new leaf and queue it."""
        node.created = node.last_access = self.policy.now()
        self.push(node)

    def accessed(self, node: TreeNode) -> None:
        """Stamp a node whose sequence was asked for again."""
        node.last_access = self.policy.now()
        node.hit_count += 1

    def pop(self) -> TreeNode | None:
        """The leaf to evict next, or None when every leaf is locked."""
        run, heap = self._run, self._heap
        while run or heap:
            in_run = run and (not heap or run[0] < heap[0])
            entry = run.popleft() if in_run else heapq.heappop(heap)
            node: TreeNode = entry[-1]
            if node.is_evictable:
                rank = self.policy.rank(node)
                if rank > entry:  # a rank that only begins an entry is below it
                    self._put((*rank, *entry[-2:]))
                    continue
                node.queued = False
                self.policy.evicted(rank)
                return node
            node.queued = False
        return None

    def _put(self, entry: tuple[Any, ...]) -> None:
        if not self._run or entry > self._run[-1]:
            self._run.append(entry)
        else:
            heapq.heappush(self._heap, entry)
