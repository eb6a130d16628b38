"""Rotary embedding, gated activations and the KV store: each touches every element once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .device_math import round_half_even, tanh, to_fp8

SCALE_BYTES: tl.constexpr = tl.constexpr(4)
INT8_LARGEST: tl.constexpr = tl.constexpr(127.0)


@dataclass(frozen=True, slots=True)
class ElementwiseConfig:
    """Launch of these kernels: heads or channels that one program takes."""

    rotary_heads: int = 8
    gate_channels: int = 1024
    num_warps: int = 4


CONFIG = ElementwiseConfig()


@triton.jit
def _rotate(
    heads: tl.tensor,  # the token's first head
    first_head: tl.tensor,
    num_heads: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
) -> None:
    head = first_head + tl.arange(0, BLOCK_HEADS)[:, None]
    channel = tl.arange(0, BLOCK_HALF)[None, :]
    mask = (head < num_heads) & (channel < HALF)
    firsts = heads + head * HEAD_DIM + channel
    first = tl.load(firsts, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(firsts + HALF, mask=mask, other=0.0).to(tl.float32)
    dtype = heads.dtype.element_ty
    tl.store(firsts, (first * cos - second * sin).to(dtype), mask=mask)
    tl.store(firsts + HALF, (second * cos + first * sin).to(dtype), mask=mask)


@triton.jit
def _rotary_kernel(
    q: tl.tensor,
    k: tl.tensor,
    positions: tl.tensor,
    cos_sin: tl.tensor,
    q_stride: tl.tensor,
    k_stride: tl.tensor,
    Q_HEADS: tl.constexpr,
    K_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
) -> None:
    """Program (token, block of heads); the blocks of q come before those of k."""
    token = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    channel = tl.arange(0, BLOCK_HALF)[None, :]
    angles = cos_sin + tl.load(positions + token) * (2 * HALF) + channel
    cos = tl.load(angles, mask=channel < HALF, other=0.0)
    sin = tl.load(angles + HALF, mask=channel < HALF, other=0.0)
    Q_BLOCKS: tl.constexpr = (Q_HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    if block < Q_BLOCKS:
        _rotate(
            q + token * q_stride, block * BLOCK_HEADS, Q_HEADS, cos, sin, HEAD_DIM, HALF,
            BLOCK_HEADS, BLOCK_HALF,
        )  # fmt: skip
    else:
        _rotate(
            k + token * k_stride, (block - Q_BLOCKS) * BLOCK_HEADS, K_HEADS, cos, sin, HEAD_DIM,
            HALF, BLOCK_HEADS, BLOCK_HALF,
        )  # fmt: skip


def rotary(q: Tensor, k: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    num_tokens, q_heads, head_dim = q.shape
    half = cos_sin.shape[1] // 2
    heads = CONFIG.rotary_heads
    blocks = triton.cdiv(q_heads, heads) + triton.cdiv(k.shape[1], heads)
    if num_tokens:
        _rotary_kernel[(num_tokens, blocks)](
            q, k, positions, cos_sin, q.stride(0), k.stride(0), Q_HEADS=q_heads,
            K_HEADS=k.shape[1], HEAD_DIM=head_dim, HALF=half, BLOCK_HEADS=heads,
            BLOCK_HALF=triton.next_power_of_2(half), num_warps=CONFIG.num_warps,
        )  # fmt: skip


@triton.jit
def _silu(x: tl.tensor) -> tl.tensor:
    return x / (1.0 + tl.exp(-x))


@triton.jit
def _gelu_tanh(x: tl.tensor) -> tl.tensor:
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)  # sqrt(2 / pi)
    return 0.5 * x * (1.0 + tanh(inner))


@triton.jit
def _gate_kernel(
    x: tl.tensor,  # [T, 2 * WIDTH]
    out: tl.tensor,  # [T, WIDTH]
    x_stride: tl.tensor,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ACTIVATION: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = channels < WIDTH
    gates = x + token * x_stride + channels
    gate = tl.load(gates, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(gates + WIDTH, mask=mask, other=0.0).to(tl.float32)
    gated = (ACTIVATION(gate) * up).to(out.dtype.element_ty)
    tl.store(out + token * WIDTH + channels, gated, mask=mask)


def silu_and_mul(x: Tensor) -> Tensor:
    return _gate(x, _silu)


def gelu_tanh_and_mul(x: Tensor) -> Tensor:
    return _gate(x, _gelu_tanh)


def _gate(x: Tensor, activation: object) -> Tensor:
    num_tokens, width = x.shape[0], x.shape[1] // 2
    out = torch.empty((num_tokens, width), dtype=x.dtype, device=x.device)
    if num_tokens:
        _gate_kernel[(num_tokens, triton.cdiv(width, CONFIG.gate_channels))](
            x, out, x.stride(0), WIDTH=width, BLOCK=CONFIG.gate_channels, ACTIVATION=activation,
            num_warps=CONFIG.num_warps,
        )  # fmt: skip
    return out


@triton.jit
def _store_row(
    rows: tl.tensor,  # the token's new K or V
    cache: tl.tensor,  # the slot's row
    scales: tl.tensor,  # the same as float32
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROW_WIDTH: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    INT8: tl.constexpr,
) -> None:
    head = tl.arange(0, BLOCK_HEADS)
    channel = tl.arange(0, BLOCK_D)
    mask = (head < HEADS)[:, None] & (channel < HEAD_DIM)[None, :]
    values = tl.load(rows + head[:, None] * HEAD_DIM + channel[None, :], mask=mask, other=0.0)
    dtype = cache.dtype.element_ty
    if INT8:
        values = values.to(tl.float32)
        scale = tl.max(tl.abs(values), 1) / INT8_LARGEST
        inverse = tl.where(scale > 0, 1.0 / tl.where(scale > 0, scale, 1.0), 0.0)
        values = round_half_even(values * inverse[:, None])
        behind = (head * ROW_WIDTH + HEAD_DIM) // SCALE_BYTES
        tl.store(scales + behind, scale, mask=head < HEADS)
        values = values.to(dtype)
    elif dtype == tl.float8e4nv:
        values = to_fp8(values.to(tl.float32))
    else:
        values = values.to(dtype)
    tl.store(cache + head[:, None] * ROW_WIDTH + channel[None, :], values, mask=mask)


@triton.jit
def _store_kv_kernel(
    k: tl.tensor,
    v: tl.tensor,
    k_cache: tl.tensor,
    v_cache: tl.tensor,
    k_scales: tl.tensor,
    v_scales: tl.tensor,
    slots: tl.tensor,
    k_stride: tl.tensor,
    v_stride: tl.tensor,
    k_slot: tl.tensor,  # elements from slot to slot
    v_slot: tl.tensor,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROW_WIDTH: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    INT8: tl.constexpr,
) -> None:
    """Program (token, K or V)."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token)
    if tl.program_id(1) == 0:
        _store_row(
            k + token * k_stride, k_cache + slot * k_slot, k_scales + slot * (k_slot // 4), HEADS,
            HEAD_DIM, ROW_WIDTH, BLOCK_HEADS, BLOCK_D, INT8,
        )  # fmt: skip
    else:
        _store_row(
            v + token * v_stride, v_cache + slot * v_slot, v_scales + slot * (v_slot // 4), HEADS,
            HEAD_DIM, ROW_WIDTH, BLOCK_HEADS, BLOCK_D, INT8,
        )  # fmt: skip


def store_kv(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    num_tokens, heads, head_dim = k.shape
    if num_tokens:
        _store_kv_kernel[(num_tokens, 2)](
            k, v, k_cache, v_cache, cache_scales(k_cache), cache_scales(v_cache), slots,
            k.stride(0), v.stride(0), k_cache.stride(0), v_cache.stride(0), HEADS=heads,
            HEAD_DIM=head_dim, ROW_WIDTH=k_cache.shape[2],
            BLOCK_HEADS=triton.next_power_of_2(heads), BLOCK_D=triton.next_power_of_2(head_dim),
            INT8=k_cache.dtype is torch.int8, num_warps=CONFIG.num_warps,
        )  # fmt: skip


def cache_scales(cache: Tensor) -> Tensor:
    """The float32 scales behind an int8 cache's heads; any other cache has none: itself."""
    if cache.dtype is not torch.int8:
        return cache
    if cache.shape[2] % 4:
        raise ValueError(
            f"an int8 KV cache needs a head_dim that is a multiple of 4, not {cache.shape[2] - 4}: "
            "its scales would not be aligned"
        )
    return cache.view(torch.float32)
