"""Attention of several new tokens a request over its cached prefix and themselves."""

from __future__ import annotations

import triton
import triton.language as tl

from .attend import attend_tile
from .ragged import ragged_tile


@triton.jit(do_not_specialize=["num_requests"])
def extend_kernel(
    q: tl.tensor,
    k_cache: tl.tensor,
    v_cache: tl.tensor,
    k_scales: tl.tensor,
    v_scales: tl.tensor,
    req_to_token: tl.tensor,
    req_pool_indices: tl.tensor,
    seq_lens: tl.tensor,
    query_start: tl.tensor,
    out: tl.tensor,  # [T, Hq, HEAD_DIM]
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
    INT8: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Program (tile, KV head): rows are (token, head of the group), so K and V are read once."""
    TOKENS: tl.constexpr = BLOCK_M // GROUP
    kv_head = tl.program_id(1)
    request, begin, end, first = ragged_tile(
        query_start, num_requests, tl.program_id(0), TOKENS, BLOCK_B
    )
    if request >= num_requests:
        return

    rows = tl.arange(0, BLOCK_M)
    tokens = first + rows // GROUP
    heads = kv_head * GROUP + rows % GROUP
    is_row = (rows < TOKENS * GROUP) & (tokens < end)
    channels = tl.arange(0, BLOCK_D)
    mask = is_row[:, None] & (channels < HEAD_DIM)[None, :]
    queries = q + tokens[:, None].to(tl.int64) * q_stride + heads[:, None] * HEAD_DIM
    query = tl.load(queries + channels[None, :], mask=mask, other=0.0)

    # Token t of the batch stands at position t + shift of its request.
    shift = tl.load(seq_lens + request) - end
    positions = tokens + shift
    last = tl.minimum(first + TOKENS, end) + shift  # keys that the tile's last token sees
    begin_key = 0
    if WINDOW > 0:
        begin_key = tl.maximum(first + shift + 1 - WINDOW, 0)

    best = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    mixed = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    table = req_to_token + tl.load(req_pool_indices + request).to(tl.int64) * table_stride
    for start in range(begin_key, last, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        valid = keys < last
        visible = keys[None, :] <= positions[:, None]
        if WINDOW > 0:
            visible &= keys[None, :] > positions[:, None] - WINDOW
        slots = tl.load(table + keys, mask=valid, other=0).to(tl.int64)
        best, total, mixed = attend_tile(
            query, best, total, mixed, slots, valid, visible & valid[None, :],
            k_cache + kv_head * ROW_WIDTH, v_cache + kv_head * ROW_WIDTH,
            k_scales + (kv_head * ROW_WIDTH + HEAD_DIM) // 4,
            v_scales + (kv_head * ROW_WIDTH + HEAD_DIM) // 4,
            k_stride, v_stride, scale, SOFT_CAP, HEAD_DIM, BLOCK_D, INT8,
        )  # fmt: skip
    outs = out + (tokens[:, None].to(tl.int64) * (GROUP * KV_HEADS) + heads[:, None]) * HEAD_DIM
    # Rows past the request's end may have seen no key.
    tl.store(outs + channels[None, :], mixed / tl.where(total > 0, total, 1.0)[:, None], mask=mask)
