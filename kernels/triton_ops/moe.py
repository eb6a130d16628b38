"""Mixture of experts: routing, sorting the tokens by expert, and two grouped matrix products.

A pair is a token and one of its experts. No count of an expert's tokens is read on the host: the
grouped products find their rows on the device (see ragged.py), with padding for no expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.moe import Experts
from .device_math import dot
from .ragged import max_tiles, ragged_tile

SMALLEST_DOT = 16
MANY = tl.constexpr(2147483647)


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """Launch of the grouped products, and of the kernels that sort."""

    block_m: int = 128
    block_n: int = 64
    block_k: int = 64
    num_stages: int = 3
    sort_block: int = 1024
    route_rows: int = 4

    def rows(self, num_pairs: int, num_experts: int) -> int:
        """Rows of a tile, for experts that each get their share of the pairs."""
        share = int(triton.next_power_of_2(triton.cdiv(num_pairs, num_experts)))
        return min(max(share, SMALLEST_DOT), self.block_m)


CONFIG = MoeConfig()


@triton.jit(do_not_specialize=["num_tokens"])
def _route_kernel(
    scores: tl.tensor,
    weights: tl.tensor,
    ids: tl.tensor,
    num_tokens: tl.tensor,
    stride: tl.tensor,
    EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    RENORMALIZE: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
    PADDED_K: tl.constexpr,
) -> None:
    """Program (block of tokens): TOP_K times the largest that is left."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    experts = tl.arange(0, PADDED)[None, :]
    mask = (rows < num_tokens) & (experts < EXPERTS)
    x = tl.load(scores + rows * stride + experts, mask=mask, other=float("-inf")).to(tl.float32)
    x = tl.where(rows < num_tokens, x, 0.0)
    left = tl.exp(x - tl.max(x, 1)[:, None])
    left = left / tl.sum(left, 1)[:, None]
    left = tl.where(experts < EXPERTS, left, -1.0)
    places = tl.arange(0, PADDED_K)[None, :]
    chosen = tl.zeros((ROWS, PADDED_K), dtype=tl.float32)
    chosen_ids = tl.zeros((ROWS, PADDED_K), dtype=tl.int32)
    for place in tl.static_range(TOP_K):
        largest = tl.max(left, 1)[:, None]
        expert = tl.min(tl.where(left == largest, experts, MANY), 1)[:, None]
        chosen = tl.where(places == place, largest, chosen)
        chosen_ids = tl.where(places == place, expert, chosen_ids)
        left = tl.where(experts == expert, -1.0, left)
    if RENORMALIZE:
        chosen = chosen / tl.sum(chosen, 1)[:, None]
    mask = (rows < num_tokens) & (places < TOP_K)
    tl.store(weights + rows * TOP_K + places, chosen, mask=mask)
    tl.store(ids + rows * TOP_K + places, chosen_ids, mask=mask)


def route_experts(scores: Tensor, top_k: int, renormalize: bool) -> tuple[Tensor, Tensor]:
    num_tokens, num_experts = scores.shape
    weights = torch.empty((num_tokens, top_k), dtype=torch.float32, device=scores.device)
    ids = torch.empty((num_tokens, top_k), dtype=torch.int32, device=scores.device)
    if num_tokens:
        _route_kernel[(triton.cdiv(num_tokens, CONFIG.route_rows),)](
            scores, weights, ids, num_tokens, scores.stride(0), EXPERTS=num_experts, TOP_K=top_k,
            RENORMALIZE=renormalize, ROWS=CONFIG.route_rows,
            PADDED=triton.next_power_of_2(num_experts), PADDED_K=triton.next_power_of_2(top_k),
        )  # fmt: skip
    return weights, ids


@triton.jit(do_not_specialize=["num_pairs"])
def _sort_kernel(
    ids: tl.tensor,  # [num_pairs] int32
    order: tl.tensor,  # [num_pairs] int32, out: the pairs, expert by expert
    starts: tl.tensor,  # [E + 1] int32, out: where each expert's pairs begin
    num_pairs: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Program (expert): counts the pairs of the experts before it, then places its own."""
    expert = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    place = tl.full((), 0, dtype=tl.int32)
    for start in range(0, num_pairs, BLOCK):
        pairs = start + lanes
        of_pair = tl.load(ids + pairs, mask=pairs < num_pairs, other=MANY)
        place += tl.sum((of_pair < expert).to(tl.int32), 0)
    tl.store(starts + expert, place)
    for start in range(0, num_pairs, BLOCK):
        pairs = start + lanes
        of_pair = tl.load(ids + pairs, mask=pairs < num_pairs, other=MANY)
        own = (of_pair == expert).to(tl.int32)
        tl.store(order + place + tl.cumsum(own, 0) - 1, pairs, mask=own > 0)
        place += tl.sum(own, 0)
    if expert == tl.num_programs(0) - 1:
        tl.store(starts + expert + 1, place)


@triton.jit
def _gate_up_kernel(
    x: tl.tensor,  # [T, HIDDEN]
    gate_up: tl.tensor,  # [E, 2 * INNER, HIDDEN]
    order: tl.tensor,
    starts: tl.tensor,
    out: tl.tensor,  # [num_pairs, INNER], in the order of the experts
    x_stride: tl.tensor,
    EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Program (tile of an expert's pairs, block of channels): silu(x @ gate.T) * (x @ up.T)."""
    expert, _, end, first = ragged_tile(starts, EXPERTS, tl.program_id(0), BLOCK_M, BLOCK_E)
    if expert >= EXPERTS:
        return
    rows = first + tl.arange(0, BLOCK_M)
    is_row = rows < end
    tokens = tl.load(order + rows, mask=is_row, other=0) // TOP_K
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)
    x_rows = x + tokens[:, None].to(tl.int64) * x_stride
    gates = gate_up + (expert.to(tl.int64) * (2 * INNER) + columns[None, :]) * HIDDEN
    gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, HIDDEN, BLOCK_K):
        inputs = start + depth
        x_mask = is_row[:, None] & (inputs < HIDDEN)[None, :]
        w_mask = (inputs < HIDDEN)[:, None] & (columns < INNER)[None, :]
        x_tile = tl.load(x_rows + inputs[None, :], mask=x_mask, other=0.0)
        w_tile = tl.load(gates + inputs[:, None], mask=w_mask, other=0.0)
        gate = dot(x_tile, w_tile, gate)
        w_tile = tl.load(gates + INNER * HIDDEN + inputs[:, None], mask=w_mask, other=0.0)
        up = dot(x_tile, w_tile, up)
    gated = gate / (1.0 + tl.exp(-gate)) * up
    outs = out + rows[:, None].to(tl.int64) * INNER + columns[None, :]
    mask = is_row[:, None] & (columns < INNER)[None, :]
    tl.store(outs, gated.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _down_kernel(
    inner: tl.tensor,  # [num_pairs, INNER], in the order of the experts
    down: tl.tensor,  # [E, HIDDEN, INNER]
    weights: tl.tensor,  # [num_pairs] float32
    order: tl.tensor,
    starts: tl.tensor,
    out: tl.tensor,  # [num_pairs, HIDDEN] float32, in the order of the pairs
    EXPERTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Program (tile of an expert's pairs, block of channels): the share of each pair."""
    expert, _, end, first = ragged_tile(starts, EXPERTS, tl.program_id(0), BLOCK_M, BLOCK_E)
    if expert >= EXPERTS:
        return
    rows = first + tl.arange(0, BLOCK_M)
    is_row = rows < end
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)
    x_rows = inner + rows[:, None].to(tl.int64) * INNER
    w_rows = down + (expert.to(tl.int64) * HIDDEN + columns[None, :]) * INNER
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, INNER, BLOCK_K):
        inputs = start + depth
        x_mask = is_row[:, None] & (inputs < INNER)[None, :]
        w_mask = (inputs < INNER)[:, None] & (columns < HIDDEN)[None, :]
        x_tile = tl.load(x_rows + inputs[None, :], mask=x_mask, other=0.0)
        w_tile = tl.load(w_rows + inputs[:, None], mask=w_mask, other=0.0)
        acc = dot(x_tile, w_tile, acc)
    pairs = tl.load(order + rows, mask=is_row, other=0)
    acc *= tl.load(weights + pairs, mask=is_row, other=0.0)[:, None]
    outs = out + pairs[:, None].to(tl.int64) * HIDDEN + columns[None, :]
    tl.store(outs, acc, mask=is_row[:, None] & (columns < HIDDEN)[None, :])


class GroupedExperts:
    """All experts' feed-forward blocks in two grouped products."""

    def __init__(self, gate_up: Tensor, down: Tensor) -> None:
        self._gate_up = gate_up.contiguous()
        self._down = down.contiguous()

    def __call__(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        (num_tokens, hidden), top_k = x.shape, ids.shape[1]
        num_experts, _, width = self._down.shape
        if num_tokens == 0:
            return torch.empty_like(x)
        num_pairs = num_tokens * top_k
        order, starts = _sort(ids, num_experts)
        block_m = CONFIG.rows(num_pairs, num_experts)
        tiles = max_tiles(num_pairs, num_experts, block_m)
        blocks = {
            "EXPERTS": num_experts, "HIDDEN": hidden, "INNER": width, "BLOCK_M": block_m,
            "BLOCK_E": triton.next_power_of_2(num_experts), "BLOCK_N": CONFIG.block_n,
            "BLOCK_K": CONFIG.block_k, "num_stages": CONFIG.num_stages,
            "num_warps": 8 if block_m >= 128 else 4,
        }  # fmt: skip
        inner = torch.empty((num_pairs, width), dtype=x.dtype, device=x.device)
        _gate_up_kernel[(tiles, triton.cdiv(width, CONFIG.block_n))](
            x, self._gate_up, order, starts, inner, x.stride(0), TOP_K=top_k, **blocks
        )
        shares = torch.empty((num_pairs, hidden), dtype=torch.float32, device=x.device)
        _down_kernel[(tiles, triton.cdiv(hidden, CONFIG.block_n))](
            inner, self._down, weights.contiguous(), order, starts, shares, **blocks
        )
        return shares.view(num_tokens, top_k, hidden).sum(1).to(x.dtype)


def _sort(ids: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """The pairs in the order of their experts, and where each expert's begin."""
    order = torch.empty(ids.numel(), dtype=torch.int32, device=ids.device)
    starts = torch.empty(num_experts + 1, dtype=torch.int32, device=ids.device)
    _sort_kernel[(num_experts,)](
        ids.contiguous(), order, starts, ids.numel(), BLOCK=CONFIG.sort_block, num_warps=4
    )
    return order, starts


def pack_experts(gate_up: Tensor, down: Tensor) -> Experts:
    return GroupedExperts(gate_up, down)
