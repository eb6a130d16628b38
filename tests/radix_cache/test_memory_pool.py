"""The slot table and the K and V buffers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sglang_lang.radix_cache.memory_pool import ReqToTokenPool, TokenToKVPool

CPU = torch.device("cpu")


def make_kv_pool(dtype: torch.dtype = torch.float32) -> TokenToKVPool:
    return TokenToKVPool(
        num_slots=32, num_layers=3, num_kv_heads=2, head_dim=8, dtype=dtype, device=CPU
    )


def test_rows_run_out_and_come_back() -> None:
    pool = ReqToTokenPool(size=2, max_context_len=8, device=CPU)
    assert [pool.alloc(), pool.alloc(), pool.alloc()] == [0, 1, None]
    pool.free(0)
    assert pool.available() == 1
    assert pool.alloc() == 0


def test_a_row_freed_twice_is_caught() -> None:
    pool = ReqToTokenPool(size=2, max_context_len=8, device=CPU)
    row = pool.alloc()
    assert row is not None
    pool.free(row)
    with pytest.raises(AssertionError, match="freed twice"):
        pool.free(row)


def test_what_is_written_is_in_the_table_on_the_device() -> None:
    pool = ReqToTokenPool(size=2, max_context_len=8, device=CPU)
    pool.write(1, 2, np.array([7, 9], dtype=np.int32))
    assert pool.table.dtype == torch.int32
    assert pool.table[1].tolist() == [0, 0, 7, 9, 0, 0, 0, 0]
    assert pool.slots(1, 2, 4).tolist() == [7, 9]


def test_write_batch_sets_one_slot_a_row() -> None:
    pool = ReqToTokenPool(size=3, max_context_len=4, device=CPU)
    pool.write_batch(
        np.array([2, 0], dtype=np.int32),
        np.array([3, 1], dtype=np.int32),
        np.array([11, 12], dtype=np.int32),
    )
    assert pool.table.tolist() == [[0, 12, 0, 0], [0, 0, 0, 0], [0, 0, 0, 11]]


def test_layers_do_not_share_rows() -> None:
    pool = make_kv_pool()
    for layer in range(pool.num_layers):
        pool.k[layer].fill_(layer + 1)
        pool.v[layer].fill_(-layer - 1)
    assert [float(k[5, 1, 3]) for k in pool.k] == [1.0, 2.0, 3.0]
    assert [float(v[5, 1, 3]) for v in pool.v] == [-1.0, -2.0, -3.0]


def test_slot_zero_starts_as_zeros() -> None:
    pool = make_kv_pool()
    assert all(not buffer[0].any() for buffer in pool.k + pool.v)


def test_token_bytes_counts_k_and_v_of_all_layers() -> None:
    assert make_kv_pool(torch.bfloat16).token_bytes == 2 * 3 * 2 * 8 * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8, torch.float8_e4m3fn])
def test_rows_read_from_some_slots_may_be_written_to_others(dtype: torch.dtype) -> None:
    pool = make_kv_pool(dtype)
    for layer, cache in enumerate(pool.k + pool.v):
        cache[5:7] = torch.full((2, 2, 8), layer + 1.0).to(dtype)
    pool.write(np.array([9, 30], dtype=np.int32), pool.read(np.array([6, 5], dtype=np.int32)))
    for layer, cache in enumerate(pool.k + pool.v):
        assert (cache[[9, 30]].float() == layer + 1).all()
