"""Norms, rotary embedding, activations and the KV store against their references."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sglang_lang.kernels.cache_format import FLOAT8, decode, encode, row_width
from sglang_lang.kernels.dispatch import REFERENCE, Ops

few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
dtypes = st.sampled_from([torch.float32, torch.bfloat16])
rows = st.integers(0, 70)
widths = st.integers(1, 130)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    rtol, atol = (1e-2, 1e-3) if expected.dtype == torch.bfloat16 else (2e-5, 1e-5)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


@few
@given(rows, widths, dtypes, dtypes)
def test_rms_norm(ops: Ops, t: int, h: int, dtype: torch.dtype, weight_dtype: torch.dtype) -> None:
    x, weight = torch.randn(t, h).to(dtype), torch.randn(h).to(weight_dtype)
    assert_same(ops.rms_norm(x, weight, 1e-5), REFERENCE.rms_norm(x, weight, 1e-5))


def test_rms_norm_of_strided_rows(ops: Ops) -> None:
    x, weight = torch.randn(5, 64)[:, 8:40], torch.randn(32)
    assert_same(ops.rms_norm(x, weight, 1e-5), REFERENCE.rms_norm(x, weight, 1e-5))


@few
@given(rows, widths, dtypes)
def test_add_rms_norm(ops: Ops, t: int, h: int, dtype: torch.dtype) -> None:
    x, residual, weight = torch.randn(t, h).to(dtype), torch.randn(t, h).to(dtype), torch.randn(h)
    expected, total = REFERENCE.add_rms_norm(x, residual.clone(), weight, 1e-5)
    normed, updated = ops.add_rms_norm(x, residual, weight, 1e-5)
    assert updated is residual
    assert_same(updated, total)
    assert_same(normed, expected)


@few
@given(rows, st.integers(1, 5), st.integers(1, 3), st.integers(1, 40), dtypes)
def test_rotary(ops: Ops, t: int, hq: int, hk: int, half: int, dtype: torch.dtype) -> None:
    head_dim = 2 * half + 6
    qkv = torch.randn(t, (hq + 2 * hk) * head_dim).to(dtype)  # q and k are views of one tensor
    positions = torch.randint(0, 50, (t,))
    table = torch.randn(50, 2 * half)
    expected = qkv.clone()
    REFERENCE.rotary(*_queries_and_keys(expected, hq, hk, head_dim), positions, table)
    ops.rotary(*_queries_and_keys(qkv, hq, hk, head_dim), positions, table)
    assert_same(qkv, expected)


def _queries_and_keys(qkv: Tensor, hq: int, hk: int, head_dim: int) -> tuple[Tensor, Tensor]:
    heads = qkv.view(len(qkv), hq + 2 * hk, head_dim)
    return heads[:, :hq], heads[:, hq : hq + hk]


@few
@given(rows, widths, dtypes)
def test_gated_activations(ops: Ops, t: int, width: int, dtype: torch.dtype) -> None:
    x = (10 * torch.randn(t, 2 * width)).to(dtype)
    assert_same(ops.silu_and_mul(x), REFERENCE.silu_and_mul(x))
    assert_same(ops.gelu_tanh_and_mul(x), REFERENCE.gelu_tanh_and_mul(x))


@pytest.mark.parametrize("value", [-1e4, -100.0, -88.0, 0.0, 88.0, 100.0, 1e4])
def test_gated_activations_at_extremes(ops: Ops, value: float) -> None:
    x = torch.cat((torch.full((1, 20), value), torch.ones(1, 20)), dim=1)
    assert_same(ops.silu_and_mul(x), REFERENCE.silu_and_mul(x))
    assert_same(ops.gelu_tanh_and_mul(x), REFERENCE.gelu_tanh_and_mul(x))


@few
@given(st.integers(0, 90), st.integers(1, 3), widths, dtypes, dtypes)
def test_store_kv(
    ops: Ops, t: int, heads: int, dim: int, dtype: torch.dtype, cache_dtype: torch.dtype
) -> None:
    k, v = torch.randn(t, heads, dim).to(dtype), torch.randn(t, heads, dim).to(dtype)
    expected = torch.zeros(2, 100, heads, dim, dtype=cache_dtype)
    actual = expected.clone()
    slots = torch.randperm(100)[:t]
    REFERENCE.store_kv(k, v, expected[0], expected[1], slots)
    ops.store_kv(k, v, actual[0], actual[1], slots)
    assert torch.equal(actual, expected)


@few
@given(st.integers(0, 90), st.integers(1, 3), widths, dtypes)
def test_store_kv_as_int8(ops: Ops, t: int, heads: int, dim: int, dtype: torch.dtype) -> None:
    """Rounding may differ by a step at a tie; heads of zeros have no scale."""
    k = torch.randn(t, heads, dim).to(dtype)
    k[t // 2 :] = 0
    expected = torch.zeros(2, 100, heads, row_width(dim, torch.int8), dtype=torch.int8)
    actual = expected.clone()
    slots = torch.randperm(100)[:t]
    REFERENCE.store_kv(k, -k, expected[0], expected[1], slots)
    ops.store_kv(k, -k, actual[0], actual[1], slots)
    step = k.abs().max() / 127 if t else torch.tensor(0.0)
    torch.testing.assert_close(decode(actual), decode(expected), rtol=0, atol=1.01 * float(step))
    scales = [cache[..., dim:].contiguous().view(torch.float32) for cache in (actual, expected)]
    torch.testing.assert_close(*scales, rtol=1e-6, atol=0)


@few
@given(st.integers(0, 90), st.integers(1, 3), widths, dtypes, st.sampled_from([1e-3, 0.1, 300]))
def test_store_kv_as_float8(
    ops: Ops, t: int, heads: int, dim: int, dtype: torch.dtype, size: float
) -> None:
    k = (size * torch.randn(t, heads, dim)).to(dtype)
    expected = torch.zeros(2, 100, heads, dim, dtype=FLOAT8)
    actual = expected.clone()
    slots = torch.randperm(100)[:t]
    REFERENCE.store_kv(k, -k, expected[0], expected[1], slots)
    ops.store_kv(k, -k, actual[0], actual[1], slots)
    assert torch.equal(actual.view(torch.uint8), expected.view(torch.uint8))


def test_float8_at_its_edges(ops: Ops) -> None:
    """Every code and what lies halfway between two, numbers too large, and none."""
    codes = torch.arange(127, dtype=torch.uint8).view(FLOAT8).float()
    halves = (codes[1:] + codes[:-1]) / 2
    odd = torch.tensor([448.1, 480.0, 1e9, math.inf, 2.0**-10, 1e-30, 1e-42])
    k = torch.cat((codes, halves, odd)).view(1, 1, -1)
    k = torch.cat((k, -k, torch.full((1, 1, 1), math.nan)), dim=-1)
    cache = torch.zeros(2, 1, *k.shape[1:], dtype=FLOAT8)
    ops.store_kv(k, k, cache[0], cache[1], torch.zeros(1, dtype=torch.int64))
    expected = encode(k, FLOAT8)
    assert torch.equal(cache[0].view(torch.uint8), expected.view(torch.uint8))
    assert decode(cache[0]).isnan().sum() == 1
