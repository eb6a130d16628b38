"""The radix cache against a naive model: a dictionary of every cached page."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.prefix_cache import MatchResult, NoCache, RadixCache

PAGES = 16
# Few symbols, so that prefixes meet; repeated, so that they do so beyond the first large page.
TOKENS = st.builds(
    lambda tokens, times: tokens * times,
    st.lists(st.integers(0, 2), max_size=40),
    st.sampled_from([1, 4]),
)
KEYS = st.sampled_from([None, "a", "b"])
Path = tuple[Any, ...]


class CacheAgainstModel(RuleBasedStateMachine):
    """``model`` maps (namespace, tokens up to the end of a page) to the slots of that page."""

    @initialize(
        page_size=st.sampled_from([1, 16, 64]),
        policy=st.sampled_from(["lru", "lfu", "fifo", "priority", "size"]),
    )
    def start(self, page_size: int, policy: str) -> None:
        self.page_size = page_size
        slots = max(400, PAGES * page_size)
        self.allocator = TokenAllocator(slots + page_size, page_size)
        self.capacity = self.allocator.available()
        self.cache = RadixCache(self.allocator, policy)
        self.model: dict[Path, list[int]] = {}
        self.locked: list[tuple[Path, MatchResult]] = []
        self.pinned: dict[Path, int] = {}

    def page_ends(self, tokens: list[int]) -> range:
        return range(self.page_size, len(tokens) + 1, self.page_size)

    def cached_len(self, tokens: list[int], key: str | None) -> int:
        length = 0
        for end in self.page_ends(tokens):
            if (key, *tokens[:end]) not in self.model:
                break
            length = end
        return length

    @rule(tokens=TOKENS, key=KEYS)
    def match(self, tokens: list[int], key: str | None) -> None:
        expected = self.cached_len(tokens, key)
        assert self.cache.prefix_len(tokens, key) == expected
        slots: list[int] = []
        for end in self.page_ends(tokens[:expected]):
            slots += self.model[(key, *tokens[:end])]
        assert self.cache.match_prefix(tokens, key).slots.tolist() == slots

    @rule(tokens=TOKENS, key=KEYS, priority=st.integers(0, 2))
    def insert(self, tokens: list[int], key: str | None, priority: int) -> None:
        cached = self.cached_len(tokens, key)
        slots = self.allocator.alloc(len(tokens))
        if slots is None:
            return
        assert self.cache.insert(tokens, slots, key, priority).prefix_len == cached
        aligned = len(tokens) - len(tokens) % self.page_size
        for end in self.page_ends(tokens):
            if end > cached:
                self.model[(key, *tokens[:end])] = slots[end - self.page_size : end].tolist()
        self.allocator.free(slots[:cached])
        self.allocator.free(slots[aligned:])

    @rule(tokens=TOKENS, key=KEYS)
    def lock(self, tokens: list[int], key: str | None) -> None:
        found = self.cache.match_prefix(tokens, key)
        self.cache.inc_lock_ref(found.node)
        self.locked.append(((key, *tokens[: len(found.slots)]), found))

    @rule(data=st.data())
    def unlock(self, data: st.DataObject) -> None:
        if self.locked:
            index = data.draw(st.integers(0, len(self.locked) - 1))
            self.cache.dec_lock_ref(self.locked.pop(index)[1].node)

    @rule(tokens=TOKENS, key=KEYS)
    def pin(self, tokens: list[int], key: str | None) -> None:
        aligned = tokens[: len(tokens) - len(tokens) % self.page_size]
        self.pinned[(key, *aligned)] = self.cached_len(tokens, key)
        assert self.cache.pin(tokens, key) == self.pinned[(key, *aligned)]

    @rule(tokens=TOKENS, key=KEYS)
    def unpin(self, tokens: list[int], key: str | None) -> None:
        aligned = tokens[: len(tokens) - len(tokens) % self.page_size]
        was_pinned = self.pinned.pop((key, *aligned), None) is not None
        assert self.cache.unpin(tokens, key) == was_pinned

    @rule(count=st.integers(1, 700))
    def evict(self, count: int) -> None:
        before = self.allocator.available()
        evictable = self.cache.evictable_size
        freed = self.cache.evict(count)
        assert freed == self.allocator.available() - before
        assert freed >= min(count, evictable)
        self.model = {
            path: slots
            for path, slots in self.model.items()
            if self.cache.prefix_len(list(path[1:]), path[0]) == len(path) - 1
        }

    @invariant()
    def locked_prefixes_stay(self) -> None:
        for path, found in getattr(self, "locked", []):
            again = self.cache.match_prefix(list(path[1:]), path[0])
            assert again.slots.tolist() == found.slots.tolist()

    @invariant()
    def pinned_prefixes_stay(self) -> None:
        for (key, *tokens), length in getattr(self, "pinned", {}).items():
            assert self.cached_len(tokens, key) >= length
            assert self.cache.prefix_len(tokens, key) >= length

    @invariant()
    def the_snapshot_is_the_tree(self) -> None:
        if hasattr(self, "cache"):
            snapshot = self.cache.snapshot(1000, 1000)
            assert sum(node.num_tokens for node in snapshot.nodes) == self.cache.total_size
            assert len(snapshot.nodes) == snapshot.num_nodes

    @invariant()
    def slots_are_conserved(self) -> None:
        if hasattr(self, "cache"):
            assert self.allocator.available() + self.cache.total_size == self.capacity
            assert self.cache.total_size == len(self.model) * self.page_size
            self.cache.check_integrity()

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            for _, found in self.locked:
                self.cache.dec_lock_ref(found.node)
            self.cache.reset()  # takes the pins back itself
            assert self.allocator.available() == self.capacity


TestCacheAgainstModel = CacheAgainstModel.TestCase
TestCacheAgainstModel.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, derandomize=True
)


def cache_with(policy: str, *sequences: list[int]) -> tuple[RadixCache, TokenAllocator]:
    allocator = TokenAllocator(100, 1)
    cache = RadixCache(allocator, policy)
    for sequence in sequences:
        slots = allocator.alloc(len(sequence))
        assert slots is not None
        cache.insert(sequence, slots)
    return cache, allocator


def test_lru_evicts_what_was_used_longest_ago() -> None:
    cache, _ = cache_with("lru", [1, 1, 1], [2, 2, 2], [3, 3, 3])
    cache.match_prefix([1, 1, 1])
    cache.evict(3)
    assert [cache.prefix_len([i] * 3) for i in (1, 2, 3)] == [3, 0, 3]


def test_fifo_evicts_what_came_first() -> None:
    cache, _ = cache_with("fifo", [1, 1, 1], [2, 2, 2])
    cache.match_prefix([1, 1, 1])
    cache.evict(3)
    assert [cache.prefix_len([i] * 3) for i in (1, 2)] == [0, 3]


def test_lfu_evicts_what_was_used_least() -> None:
    cache, _ = cache_with("lfu", [1, 1, 1], [2, 2, 2])
    cache.match_prefix([1, 1, 1])
    cache.match_prefix([1, 1, 1])
    cache.match_prefix([2, 2, 2])
    cache.evict(3)
    assert [cache.prefix_len([i] * 3) for i in (1, 2)] == [3, 0]


def test_priority_goes_before_use() -> None:
    allocator = TokenAllocator(100, 1)
    cache = RadixCache(allocator, "priority")
    for token, priority in ((1, 5), (2, 0)):
        slots = allocator.alloc(3)
        assert slots is not None
        cache.insert([token] * 3, slots, priority=priority)
    cache.match_prefix([2, 2, 2])
    cache.evict(3)
    assert [cache.prefix_len([i] * 3) for i in (1, 2)] == [3, 0]


def test_evicting_takes_leaves_before_their_parents_and_no_more_than_needed() -> None:
    cache, _ = cache_with("lru", [1, 2, 3, 4], [1, 2, 8, 9])
    assert cache.evict(1) == 1
    assert cache.prefix_len([1, 2]) == 2
    assert cache.total_size == 5


def test_a_leaf_freed_below_a_locked_path_can_be_evicted() -> None:
    cache, _ = cache_with("lru", [1, 2], [1, 2, 3])
    stem, leaf = cache.match_prefix([1, 2]), cache.match_prefix([1, 2, 3])
    cache.inc_lock_ref(stem.node)
    cache.inc_lock_ref(leaf.node)
    cache.evict(3)
    cache.dec_lock_ref(leaf.node)
    assert cache.evict(3) == 1
    assert cache.prefix_len([1, 2, 3]) == 2


def test_a_pin_protects_from_eviction_until_it_is_taken_back() -> None:
    cache, _ = cache_with("lru", [1, 2, 3], [7, 8])
    assert cache.pin([1, 2, 3, 4]) == 3
    assert cache.pin([1, 2, 3, 4]) == cache.pinned_size == 3  # twice is once
    assert cache.evict(100) == 2
    assert not cache.unpin([1, 2, 3])
    assert cache.unpin([1, 2, 3, 4])
    assert cache.pinned_size == 0
    assert cache.evict(100) == 3


def test_a_pin_of_one_tenant_keeps_nothing_of_another() -> None:
    allocator = TokenAllocator(100, 1)
    cache = RadixCache(allocator)
    for key in ("a", "b"):
        slots = allocator.alloc(3)
        assert slots is not None
        cache.insert([1, 2, 3], slots, key)
    assert cache.pin([1, 2, 3], "a") == 3
    assert not cache.unpin([1, 2, 3], "b")
    cache.evict(100)
    assert [cache.prefix_len([1, 2, 3], key) for key in ("a", "b", None)] == [3, 0, 0]


def test_one_large_leaf_goes_before_many_small_ones_with_size() -> None:
    cache, _ = cache_with("size", [1] * 2, [2] * 50, [3] * 2)
    cache.evict(1)
    assert cache.prefix_len([2] * 50) == 49
    assert [cache.prefix_len([i] * 2) for i in (1, 3)] == [2, 2]


@pytest.mark.parametrize("policy", ["lru", "lfu", "fifo", "priority", "size"])
def test_a_locked_leaf_is_never_evicted(policy: str) -> None:
    cache, _ = cache_with(policy, [1, 1, 1], [2, 2, 2])
    found = cache.match_prefix([1, 1, 1])
    cache.inc_lock_ref(found.node)
    assert cache.evict(100) == 3
    assert [cache.prefix_len([i] * 3) for i in (1, 2)] == [3, 0]


def test_a_snapshot_is_bounded_and_says_what_it_left_out() -> None:
    cache, _ = cache_with("lru", *([5, i, i] for i in range(6)), [9, 9])
    cache.match_prefix([9, 9])
    snapshot = cache.snapshot(most_nodes=4, most_children=3)
    stem, other, *leaves = snapshot.nodes
    assert (stem.token_ids, stem.num_children, stem.parent) == ([5], 6, None)
    assert (other.token_ids, other.hit_count) == ([9, 9], 1)
    assert other.idle_seconds is not None and other.idle_seconds >= 0
    assert [leaf.parent for leaf in leaves] == [0, 0]
    assert (snapshot.num_nodes, snapshot.num_children, snapshot.total_tokens) == (8, 2, 15)


def test_a_snapshot_names_the_namespaces() -> None:
    allocator = TokenAllocator(100, 1)
    cache = RadixCache(allocator)
    for i, key in enumerate([None, "", "tenant ü"]):
        cache.insert([i], np.array([i + 1], dtype=np.int32), key)
    assert [node.extra_key for node in cache.snapshot(9, 9).nodes] == [None, "", "tenant ü"]


def test_statistics_count_hits() -> None:
    cache, _ = cache_with("lru", [1, 2, 3, 4])
    cache.match_prefix([1, 2, 3, 9])
    assert (cache.stats.lookup_tokens, cache.stats.hit_tokens) == (4, 3)
    assert cache.stats.hit_rate == pytest.approx(0.75)


def test_no_cache_has_the_verbs_and_shares_nothing() -> None:
    cache = NoCache(4)
    slots = np.arange(8, dtype=np.int32)
    assert cache.insert(list(range(8)), slots).prefix_len == 8
    assert len(cache.match_prefix(list(range(8))).slots) == 0
    assert cache.evict(5) == 0


def test_an_unknown_policy_names_the_choices() -> None:
    with pytest.raises(ValueError, match="lru, lfu"):
        RadixCache(TokenAllocator(10, 1), "best")


def test_inserting_what_is_cached_counts_as_a_use_of_it() -> None:
    cache, allocator = cache_with("lru", [1, 1, 1], [2, 2, 2])
    slots = allocator.alloc(3)
    assert slots is not None
    assert cache.insert([1, 1, 1], slots).prefix_len == 3
    cache.evict(3)
    assert [cache.prefix_len([i] * 3) for i in (1, 2)] == [3, 0]
