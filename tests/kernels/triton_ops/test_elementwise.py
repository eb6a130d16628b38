"""Norms, rotary embedding, gated activations and the KV store against their references."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.kernels.cache_format import decode, row_width
from sglang_lang.kernels.dispatch import REFERENCE, Ops

from .examples import assert_same, dtypes, few


@few
@given(st.integers(0, 9), st.sampled_from([1, 16, 100, 576]), dtypes, st.booleans())
def test_rms_norm(ops: Ops, rows: int, width: int, dtype: torch.dtype, wide_weight: bool) -> None:
    x = torch.randn(rows, 2 * width).to(dtype)[:, :width]  # strided rows
    weight = torch.randn(width).to(torch.float32 if wide_weight else dtype)
    assert_same(ops.rms_norm(x, weight, 1e-5), REFERENCE.rms_norm(x, weight, 1e-5))


@few
@given(st.integers(0, 9), st.sampled_from([1, 16, 100, 576]), dtypes)
def test_add_rms_norm(ops: Ops, rows: int, width: int, dtype: torch.dtype) -> None:
    x, residual = torch.randn(rows, width).to(dtype), torch.randn(rows, width).to(dtype)
    weight, expected_residual = torch.randn(width), residual.clone()
    expected, _ = REFERENCE.add_rms_norm(x, expected_residual, weight, 1e-6)
    normed, returned = ops.add_rms_norm(x, residual, weight, 1e-6)
    assert returned is residual
    assert_same(residual, expected_residual)
    assert_same(normed, expected)


@few
@given(
    st.integers(0, 5),
    st.sampled_from([(1, 1), (9, 3), (17, 2)]),
    st.sampled_from([(16, 16), (24, 10), (80, 64)]),
    dtypes,
)
def test_rotary(
    ops: Ops, tokens: int, heads: tuple[int, int], sizes: tuple[int, int], dtype: torch.dtype
) -> None:
    head_dim, rot_dim = sizes
    merged = torch.randn(tokens, sum(heads), head_dim).to(dtype)
    positions, cos_sin = torch.randint(0, 50, (tokens,)), torch.rand(50, rot_dim)
    expected = merged.clone()
    REFERENCE.rotary(expected[:, : heads[0]], expected[:, heads[0] :], positions, cos_sin)
    ops.rotary(merged[:, : heads[0]], merged[:, heads[0] :], positions, cos_sin)
    assert_same(merged, expected)


@few
@given(st.integers(0, 4), st.sampled_from([1, 48, 1500]), dtypes, st.sampled_from([1.0, 20.0]))
def test_gated_activations(
    ops: Ops, rows: int, width: int, dtype: torch.dtype, spread: float
) -> None:
    x = (spread * torch.randn(rows, 2 * width)).to(dtype)
    assert_same(ops.silu_and_mul(x), REFERENCE.silu_and_mul(x))
    assert_same(ops.gelu_tanh_and_mul(x), REFERENCE.gelu_tanh_and_mul(x))


@few
@given(
    st.integers(0, 6),
    st.sampled_from([(1, 16), (3, 24), (8, 64)]),
    dtypes,
    st.sampled_from([torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int8]),
)
def test_store_kv(
    ops: Ops, tokens: int, sizes: tuple[int, int], dtype: torch.dtype, cache_dtype: torch.dtype
) -> None:
    heads, head_dim = sizes
    merged = (3 * torch.randn(tokens, 2 * heads, head_dim)).to(dtype)
    merged[:1] *= 300  # beyond what fp8 holds
    k, v = merged[:, :heads], merged[:, heads:]
    shape = (2, 20, heads, row_width(head_dim, cache_dtype))
    cache, expected = torch.zeros(2, *shape).to(cache_dtype)
    slots = torch.randperm(20)[:tokens]
    REFERENCE.store_kv(k, v, expected[0], expected[1], slots)
    ops.store_kv(k, v, cache[0], cache[1], slots)
    for got, wanted in zip(decode(cache), decode(expected), strict=True):
        step = wanted.abs().amax() / 127 if cache_dtype is torch.int8 else 0.0
        torch.testing.assert_close(got, wanted, rtol=1e-2, atol=1e-6 + float(step))
    if cache_dtype is torch.float8_e4m3fn:
        assert torch.equal(cache.float(), expected.float())
