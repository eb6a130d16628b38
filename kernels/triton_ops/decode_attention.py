"""Attention of one new token a request: the keys of each request split over several programs."""

from __future__ import annotations

import triton
import triton.language as tl

from .attend import attend_tile


@triton.jit(do_not_specialize=["num_requests"])
def decode_kernel(
    q: tl.tensor,
    k_cache: tl.tensor,
    v_cache: tl.tensor,
    k_scales: tl.tensor,
    v_scales: tl.tensor,
    req_to_token: tl.tensor,
    req_pool_indices: tl.tensor,
    seq_lens: tl.tensor,
    query_start: tl.tensor,
    parts: tl.tensor,  # [T, Hq, SPLITS, HEAD_DIM] float32, out
    log_sums: tl.tensor,  # [T, Hq, SPLITS] float32, out: -inf where the part has no keys
    num_requests: tl.tensor,
    q_stride: tl.tensor,
    k_stride: tl.tensor,
    v_stride: tl.tensor,
    table_stride: tl.tensor,
    scale: tl.tensor,
    WINDOW: tl.constexpr,  # 0 for none
    SOFT_CAP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROW_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SPLITS: tl.constexpr,
    KEYS_PER_SPLIT: tl.constexpr,
    INT8: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Program (token, heads of a KV head, part): the softmax of one part of the token's keys."""
    token = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1) % KV_HEADS
    head_block = tl.program_id(1) // KV_HEADS
    split = tl.program_id(2)

    # The token's request is the first that ends behind it; one token each is the rule.
    requests = tl.arange(0, BLOCK_B)
    ends = tl.load(query_start + 1 + requests, mask=requests < num_requests, other=2147483647)
    request = tl.sum((ends <= token).to(tl.int32), 0)
    end = tl.load(seq_lens + request) - (tl.load(query_start + request + 1) - 1 - token).to(
        tl.int32
    )
    begin = 0
    if WINDOW > 0:
        begin = tl.maximum(end - WINDOW, 0)

    length = tl.maximum(KEYS_PER_SPLIT, (end - begin + SPLITS - 1) // SPLITS)
    length = (length + BLOCK_N - 1) // BLOCK_N * BLOCK_N
    first = begin + split * length
    last = tl.minimum(first + length, end)

    heads = head_block * BLOCK_H + tl.arange(0, BLOCK_H)
    is_head = heads < GROUP
    heads += kv_head * GROUP
    results = (token * (GROUP * KV_HEADS) + heads) * SPLITS + split
    if first >= last:
        tl.store(log_sums + results, float("-inf"), mask=is_head)
        return

    channels = tl.arange(0, BLOCK_D)
    mask = is_head[:, None] & (channels < HEAD_DIM)[None, :]
    queries = q + token * q_stride + heads[:, None] * HEAD_DIM + channels[None, :]
    query = tl.load(queries, mask=mask, other=0.0)
    best = tl.full((BLOCK_H,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_H,), dtype=tl.float32)
    mixed = tl.zeros((BLOCK_H, BLOCK_D), dtype=tl.float32)
    table = req_to_token + tl.load(req_pool_indices + request).to(tl.int64) * table_stride
    for start in range(first, last, BLOCK_N):
        positions = start + tl.arange(0, BLOCK_N)
        valid = positions < last
        slots = tl.load(table + positions, mask=valid, other=0).to(tl.int64)
        best, total, mixed = attend_tile(
            query, best, total, mixed, slots, valid, valid[None, :],
            k_cache + kv_head * ROW_WIDTH, v_cache + kv_head * ROW_WIDTH,
            k_scales + (kv_head * ROW_WIDTH + HEAD_DIM) // 4,
            v_scales + (kv_head * ROW_WIDTH + HEAD_DIM) // 4,
            k_stride, v_stride, scale, SOFT_CAP, HEAD_DIM, BLOCK_D, INT8,
        )  # fmt: skip
    tl.store(log_sums + results, best + tl.log2(total), mask=is_head)
    rows = parts + results[:, None] * HEAD_DIM + channels[None, :]
    tl.store(rows, mixed / total[:, None], mask=mask)


@triton.jit
def reduce_kernel(
    parts: tl.tensor,  # [T * Hq, SPLITS, HEAD_DIM] float32
    log_sums: tl.tensor,  # [T * Hq, SPLITS] float32
    out: tl.tensor,  # [T * Hq, HEAD_DIM]
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLITS: tl.constexpr,
) -> None:
    """Mixes the parts of one token's head by their share of the softmax."""
    row = tl.program_id(0).to(tl.int64)
    splits = tl.arange(0, SPLITS)
    channels = tl.arange(0, BLOCK_D)
    is_channel = channels < HEAD_DIM
    log_sum = tl.load(log_sums + row * SPLITS + splits)
    shares = tl.exp2(log_sum - tl.max(log_sum, 0))
    # What a part without keys left in memory may be NaN, which a share of zero does not remove.
    mask = (shares > 0)[:, None] & is_channel[None, :]
    rows = parts + (row * SPLITS + splits[:, None]) * HEAD_DIM + channels[None, :]
    mixed = tl.sum(tl.load(rows, mask=mask, other=0.0) * shares[:, None], 0) / tl.sum(shares, 0)
    tl.store(out + row * HEAD_DIM + channels, mixed, mask=is_channel)
