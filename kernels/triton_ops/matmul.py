"""Matrix products with quantised weights: kernels, and how a product is cut into programs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .device_math import FP8_LARGEST, dot, to_fp8, whole

SMALLEST_DOT = 16
FP8_DEPTH = 32  # of a matrix instruction over 8-bit elements


@dataclass(frozen=True, slots=True)
class MatmulConfig:
    """Launch of a quantised product.

    Args:
        block_m: rows of x that one program takes at most.
        block_n: output channels of a tile.
        block_k: inputs of a tile; products over blocks take the block's size instead.
        programs_per_sm: a product of fewer programs is split along the inputs.
        max_splits: parts of the inputs.
    """

    block_m: int = 128
    block_n: int = 64
    block_k: int = 128
    num_warps: int = 4
    num_stages: int = 4
    programs_per_sm: int = 2
    max_splits: int = 16

    def rows(self, num_rows: int) -> int:
        return min(max(int(triton.next_power_of_2(num_rows)), SMALLEST_DOT), self.block_m)

    def splits(self, tiles: int, steps: int, num_sms: int) -> int:
        """Into how many parts to split ``steps`` tiles of inputs; each keeps at least four."""
        wanted = triton.cdiv(self.programs_per_sm * num_sms, tiles)
        return int(max(1, min(wanted, self.max_splits, steps // 4)))


@triton.jit
def _finish(
    acc: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,  # [splits, num_rows, N]
    rows: tl.tensor,
    columns: tl.tensor,
    num_rows: tl.tensor,
    split: tl.tensor,
    N: tl.constexpr,
    HAS_BIAS: tl.constexpr,
) -> None:
    """Writes one part of the product; the first part carries the bias."""
    if HAS_BIAS:
        shift = tl.load(bias + columns, mask=columns < N, other=0.0)
        acc += tl.where(split == 0, shift, 0.0)[None, :]
    mask = (rows < num_rows)[:, None] & (columns < N)[None, :]
    place = (split.to(tl.int64) * num_rows + rows[:, None]) * N + columns[None, :]
    tl.store(out + place, acc.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["num_rows"])
def channel_kernel(
    x: tl.tensor,  # [num_rows, K]
    values: tl.tensor,  # [N, K]
    x_scales: tl.tensor,  # [num_rows] float32
    scales: tl.tensor,  # [N] float32
    bias: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    x_stride: tl.tensor,
    split_length: tl.tensor,  # inputs of a part, a multiple of BLOCK_K
    N: tl.constexpr,
    K: tl.constexpr,
    HAS_X_SCALES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Program (block of channels, block of rows, part): one scale a channel, and one a row."""
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    split = tl.program_id(2)
    depth = tl.arange(0, BLOCK_K)
    x_rows = x + rows[:, None].to(tl.int64) * x_stride
    w_rows = values + columns[None, :].to(tl.int64) * K
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(split * split_length, tl.minimum((split + 1) * split_length, K), BLOCK_K):
        inputs = start + depth
        x_mask = (rows < num_rows)[:, None] & (inputs < K)[None, :]
        w_mask = (inputs < K)[:, None] & (columns < N)[None, :]
        x_tile = tl.load(x_rows + inputs[None, :], mask=x_mask, other=0.0)
        w_tile = tl.load(w_rows + inputs[:, None], mask=w_mask, other=0.0)
        acc = dot(x_tile, w_tile if HAS_X_SCALES else whole(w_tile, x_tile.dtype), acc)
    acc *= tl.load(scales + columns, mask=columns < N, other=0.0)[None, :]
    if HAS_X_SCALES:
        acc *= tl.load(x_scales + rows, mask=rows < num_rows, other=0.0)[:, None]
    _finish(acc, bias, out, rows, columns, num_rows, split, N, HAS_BIAS)


@triton.jit(do_not_specialize=["num_rows"])
def block_kernel(
    x: tl.tensor,  # [num_rows, BLOCKS * BLOCK_K]
    values: tl.tensor,  # [BLOCKS, N, BLOCK_K] uint8, or [BLOCKS, N, BLOCK_K / 2] if NIBBLES
    scales: tl.tensor,  # [BLOCKS, N]
    minimums: tl.tensor,  # [BLOCKS, N]
    bias: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    x_stride: tl.tensor,
    split_blocks: tl.tensor,  # blocks of a part
    N: tl.constexpr,
    BLOCKS: tl.constexpr,
    NIBBLES: tl.constexpr,  # the low halves of a block's bytes are its first values
    OFFSET: tl.constexpr,
    HAS_MINIMUMS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Program (block of channels, block of rows, part): a scale for each BLOCK_K inputs.

    The matrix instructions see whole numbers, which every type holds exactly; the scale multiplies
    the product of a block.
    """
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    split = tl.program_id(2)
    BYTES: tl.constexpr = BLOCK_K // 2 if NIBBLES else BLOCK_K
    depth = tl.arange(0, BYTES)
    is_column = columns < N
    x_rows = x + rows[:, None].to(tl.int64) * x_stride + depth[None, :]
    x_mask = (rows < num_rows)[:, None] & (depth >= 0)[None, :]
    w_mask = is_column[None, :] & (depth >= 0)[:, None]
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for block in range(split * split_blocks, tl.minimum((split + 1) * split_blocks, BLOCKS)):
        place = columns.to(tl.int64) + block * N
        packed = tl.load(values + place[None, :] * BYTES + depth[:, None], mask=w_mask, other=0)
        x_tile = tl.load(x_rows + block * BLOCK_K, mask=x_mask, other=0.0)
        part = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        if NIBBLES:
            x_high = tl.load(x_rows + block * BLOCK_K + BYTES, mask=x_mask, other=0.0)
            part = dot(x_tile, whole((packed & 0xF).to(tl.int16) - OFFSET, x_tile.dtype), part)
            part = dot(x_high, whole((packed >> 4).to(tl.int16) - OFFSET, x_tile.dtype), part)
        else:
            part = dot(x_tile, whole(packed.to(tl.int16) - OFFSET, x_tile.dtype), part)
        acc += part * tl.load(scales + place, mask=is_column, other=0.0).to(tl.float32)[None, :]
        if HAS_MINIMUMS:
            sums = tl.sum(x_tile.to(tl.float32), 1)
            if NIBBLES:
                sums += tl.sum(x_high.to(tl.float32), 1)
            minimum = tl.load(minimums + place, mask=is_column, other=0.0).to(tl.float32)
            acc += sums[:, None] * minimum[None, :]
    _finish(acc, bias, out, rows, columns, num_rows, split, N, HAS_BIAS)


@triton.jit
def dequantize_kernel(
    values: tl.tensor,  # as for block_kernel
    scales: tl.tensor,
    minimums: tl.tensor,
    out: tl.tensor,  # [N, BLOCKS * BLOCK_K]
    N: tl.constexpr,
    BLOCKS: tl.constexpr,
    NIBBLES: tl.constexpr,
    OFFSET: tl.constexpr,
    HAS_MINIMUMS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Program (block of channels, block of inputs): the weight itself, for many rows of x."""
    columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    block = tl.program_id(1).to(tl.int64)
    BYTES: tl.constexpr = BLOCK_K // 2 if NIBBLES else BLOCK_K
    depth = tl.arange(0, BYTES)
    is_column = columns < N
    mask = is_column[:, None] & (depth >= 0)[None, :]
    place = block * N + columns
    packed = tl.load(values + place[:, None] * BYTES + depth[None, :], mask=mask, other=0)
    scale = tl.load(scales + place, mask=is_column, other=0.0).to(tl.float32)[:, None]
    minimum = tl.zeros((BLOCK_N, 1), dtype=tl.float32)
    if HAS_MINIMUMS:
        minimum += tl.load(minimums + place, mask=is_column, other=0.0).to(tl.float32)[:, None]
    outs = out + columns[:, None].to(tl.int64) * (BLOCKS * BLOCK_K) + block * BLOCK_K
    outs += depth[None, :]
    dtype = out.dtype.element_ty
    low = packed & 0xF if NIBBLES else packed
    weight = (low.to(tl.float32) - OFFSET) * scale + minimum
    tl.store(outs, weight.to(dtype), mask=mask)
    if NIBBLES:
        weight = ((packed >> 4).to(tl.float32) - OFFSET) * scale + minimum
        tl.store(outs + BYTES, weight.to(dtype), mask=mask)


@triton.jit
def _quantize_rows_kernel(
    x: tl.tensor,
    values: tl.tensor,  # [R, WIDTH] float8_e4m3fn
    scales: tl.tensor,  # [R] float32
    x_stride: tl.tensor,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
) -> None:
    """Program (row)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, PADDED)
    mask = columns < WIDTH
    numbers = tl.load(x + row * x_stride + columns, mask=mask, other=0.0).to(tl.float32)
    scale = tl.max(tl.abs(numbers), 0) / FP8_LARGEST
    tl.store(scales + row, scale)
    step = tl.where(scale > 0, scale, 1.0)
    tl.store(values + row * WIDTH + columns, to_fp8(numbers / step), mask=mask)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """``fp8_weight.quantize_rows`` in one pass over x [R, K]."""
    num_rows, width = x.shape
    values = torch.empty((num_rows, width), dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(num_rows, dtype=torch.float32, device=x.device)
    padded = triton.next_power_of_2(width)
    _quantize_rows_kernel[(num_rows,)](
        x, values, scales, x.stride(0), WIDTH=width, PADDED=padded,
        num_warps=max(1, min(16, padded // 512)),
    )  # fmt: skip
    return values, scales
