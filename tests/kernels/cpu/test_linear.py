"""Packed linear layers against float64 products."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sglang_lang.kernels.dispatch import Ops

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@few
@given(
    st.sampled_from([0, 1, 2, 3, 5, 7, 12, 13, 31, 97, 200]),
    st.integers(1, 100),
    st.integers(1, 150),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.booleans(),
)
def test_any_shape(ops: Ops, t: int, n: int, k: int, dtype: torch.dtype, has_bias: bool) -> None:
    torch.manual_seed(t + n + k)
    x, weight = torch.randn(t, k).to(dtype), torch.randn(n, k).to(dtype)
    bias = torch.randn(n).to(dtype) if has_bias else None
    layer = ops.pack_linear(weight.clone(), bias)
    expected = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert (layer.in_features, layer.out_features) == (k, n)
    wide = layer(x, out_dtype=torch.float32)
    torch.testing.assert_close(wide.double(), expected, rtol=1e-5, atol=2e-5)
    assert torch.equal(layer(x), wide.to(dtype))


def test_rows_may_be_strided(ops: Ops) -> None:
    for offset in (0, 1):  # an odd offset leaves bfloat16 rows without 4-byte alignment
        x = torch.randn(5, 40).bfloat16()[:, offset : offset + 20]
        weight = torch.randn(8, 20).bfloat16()
        layer = ops.pack_linear(weight, None)
        assert torch.equal(layer(x), layer(x.contiguous()))


def test_what_lies_behind_an_odd_row_is_not_read(ops: Ops) -> None:
    x = torch.ones(2, 8).bfloat16()
    x[:, 3] = torch.nan
    layer = ops.pack_linear(torch.ones(4, 3).bfloat16(), None)
    assert torch.equal(layer(x[:, :3]), torch.full((2, 4), 3.0).bfloat16())


def test_a_row_does_not_depend_on_its_batch(ops: Ops) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(64, 96).to(dtype), torch.randn(70, 96).to(dtype)
        layer = ops.pack_linear(weight, None)
        whole = layer(x)
        for rows in (1, 2, 3, 5, 11, 32):
            assert torch.equal(layer(x[7 : 7 + rows]), whole[7 : 7 + rows])
