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

SLOTS = 400
TOKENS = st.lists(st.integers(0, 2), max_size=40)  # few symbols, so that prefixes meet
KEYS = st.sampled_from([None, "a", "b"])
Path = tuple[Any, ...]


class CacheAgainstModel(RuleBasedStateMachine):
    """``model`` maps (namespace, tokens up to the end of a page) to the slots of that page."""

    @initialize(
        page_size=st.sampled_from([1, 4, 16]),
        policy=st.sampled_from(["lru", "lfu", "fifo", "priority", "size"]),
    )
    def start(self, page_size: int, policy: str) -> None:
        self.page_size = page_size
        self.allocator = TokenAllocator(SLOTS + page_size, page_size)
        self.capacity = self.allocator.available()
        self.cache = RadixCache(self.allocator, policy)
        self.model: dict[Path, list[int]] = {}
        self.locked: list[tuple[Path, MatchResult]] = []

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

    @rule(count=st.integers(1, 120))
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
    def slots_are_conserved(self) -> None:
        if hasattr(self, "cache"):
            assert self.allocator.available() + self.cache.total_size == self.capacity
            assert self.cache.total_size == len(self.model) * self.page_size
            self.cache.check_integrity()

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            for _, found in self.locked:
                self.cache.dec_lock_ref(found.node)
            self.cache.reset()
            assert self.allocator.available() == self.capacity


TestCacheAgainstModel = CacheAgainstModel.TestCase
TestCacheAgainstModel.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
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
