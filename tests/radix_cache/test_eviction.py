"""The queue of evictable leaves against looking at all of them."""

from __future__ import annotations

from itertools import count

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sglang_lang.radix_cache.eviction import EvictionQueue, eviction_policy
from sglang_lang.radix_cache.radix_tree import RadixTree, TreeNode

POLICIES = ["lru", "lfu", "fifo", "priority", "size"]
# What happens: a new leaf of so many tokens and this priority, a use, a lock, an unlock, a pop.
EVENTS = st.lists(
    st.tuples(st.sampled_from("cccuuulop"), st.integers(0, 30), st.integers(0, 2)), max_size=80
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(policy=st.sampled_from(POLICIES), events=EVENTS)
def test_the_lowest_rank_goes_first(policy: str, events: list[tuple[str, int, int]]) -> None:
    queue = EvictionQueue(eviction_policy(policy))
    tree = RadixTree(1, queue.push)
    leaves: list[TreeNode] = []
    locked: list[TreeNode] = []
    names = count()
    for event, number, priority in events:
        free = [leaf for leaf in leaves if leaf.is_evictable]
        if event == "c":
            key = tree.key_of([next(names), *range(number)])
            _, leaf = tree.insert(key, key, None)
            leaf.priority = priority
            queue.created(leaf)
            leaves.append(leaf)
        elif event == "u" and leaves:
            queue.accessed(leaves[number % len(leaves)])
        elif event == "l" and leaves:
            locked.append(leaves[number % len(leaves)])
            tree.lock(locked[-1])
        elif event == "o" and locked:
            tree.unlock(locked.pop(number % len(locked)))
        elif event == "p":
            lowest = min((queue.policy.rank(leaf) for leaf in free), default=None)
            popped = queue.pop()
            if popped is None:
                assert lowest is None
                continue
            assert popped in free and queue.policy.rank(popped) == lowest
            tree.remove(popped)
            leaves.remove(popped)
    for leaf in locked:
        tree.unlock(leaf)
    assert len(leaves) == sum(1 for _ in iter(queue.pop, None))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_rank_never_falls(policy: str) -> None:
    chosen = eviction_policy(policy)
    queue = EvictionQueue(chosen)
    tree = RadixTree(1, queue.push)
    key = tree.key_of([1, 2, 3, 4, 5])
    _, leaf = tree.insert(key, key, None)
    queue.created(leaf)
    rank = chosen.rank(leaf)
    for _ in range(3):
        queue.accessed(leaf)
        assert chosen.rank(leaf) >= rank
        rank = chosen.rank(leaf)
    tree.truncate(leaf, 2)
    assert chosen.rank(leaf) >= rank
