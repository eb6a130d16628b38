from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sglang_lang.radix_cache.allocator import TokenAllocator


@given(
    st.sampled_from([1, 4, 16]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=40),
)
def test_sequences_own_their_slots_alone_and_give_all_back(
    page_size: int, growth: list[tuple[int, int]]
) -> None:
    allocator = TokenAllocator(20 * page_size, page_size)
    capacity = allocator.available()
    sequences: dict[int, list[int]] = {}
    for name, count in growth:
        owned = sequences.setdefault(name, [])
        last = owned[-1] if owned else None
        before = allocator.available()
        slots = allocator.alloc_extend(last, len(owned), count)
        if slots is None:
            assert allocator.available() == before
            continue
        owned += slots.tolist()
        everything = [slot for other in sequences.values() for slot in other]
        assert len(set(everything)) == len(everything)
        assert min(everything) >= page_size  # page 0 is never handed out
        assert all(slot % page_size == i % page_size for i, slot in enumerate(owned))
    for owned in sequences.values():
        allocator.free(np.array(owned, dtype=np.int32))
    assert allocator.available() == capacity


@given(st.sampled_from([1, 4]), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_a_batch_of_single_tokens_equals_growing_one_by_one(
    page_size: int, lengths: list[int]
) -> None:
    def start() -> tuple[TokenAllocator, list[int]]:
        allocator = TokenAllocator(100 * page_size, page_size)
        lasts = []
        for length in lengths:
            slots = allocator.alloc(length)
            assert slots is not None
            lasts.append(int(slots[-1]))
        return allocator, lasts

    batched, lasts = start()
    got = batched.alloc_decode(np.array(lasts, dtype=np.int32), np.array(lengths, dtype=np.int32))
    single, _ = start()
    assert got is not None
    for slot, last, length in zip(got.tolist(), lasts, lengths, strict=True):
        alone = single.alloc_extend(last, length, 1)
        assert alone is not None
        assert slot % page_size == length % page_size
        if length % page_size:
            assert slot == last + 1
    assert batched.available() == single.available()


def test_freeing_twice_is_noticed() -> None:
    allocator = TokenAllocator(10, 1)
    slots = allocator.alloc(2)
    assert slots is not None
    allocator.free(slots)
    with pytest.raises(AssertionError, match="freed twice"):
        allocator.free(slots)


def test_a_pool_without_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="no page"):
        TokenAllocator(16, 16)
