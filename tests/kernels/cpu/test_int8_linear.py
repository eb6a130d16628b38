"""Layers of 8-bit weights against the same sums in whole numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.int8_weight import Int8Weight, quantize_int8

STEP = 64  # channels of a row that share a scale


def expected(x: Tensor, weight: Int8Weight) -> tuple[Tensor, Tensor]:
    """What W8A8 gives, sums of whole numbers, and by how much it may be off.

    A value of x half-way between two steps may be rounded to either.
    """
    total = torch.zeros(x.shape[0], weight.values.shape[0], dtype=torch.double)
    slack = torch.zeros_like(total)
    for part, columns in zip(x.split(STEP, dim=1), weight.values.split(STEP, dim=1), strict=True):
        scales = part.float().abs().amax(dim=1, keepdim=True) / 127
        steps = part.double() * torch.where(scales > 0, 1 / scales, 0.0).double()
        near_half = ((steps.abs() % 1 - 0.5).abs() < 1e-4).double()
        total += steps.round() @ columns.double().T * scales.double()
        slack += near_half @ columns.double().abs().T * scales.double()
    return total * weight.scales.double(), slack * weight.scales.double()


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 15, 16, 17, 33, 100])
@pytest.mark.parametrize(("out_features", "in_features"), [(70, 192), (32, 64), (5, 100), (33, 7)])
def test_any_shape(ops: Ops, rows: int, out_features: int, in_features: int) -> None:
    torch.manual_seed(rows)
    weight = quantize_int8(torch.randn(out_features, in_features))
    x, bias = torch.randn(rows, in_features).bfloat16(), torch.randn(out_features)
    actual = ops.pack_linear(weight, bias)(x, out_dtype=torch.float32)
    sums, slack = expected(x, weight)
    sums += bias.double()
    assert ((actual.double() - sums).abs() <= slack + 1e-5 * (1 + sums.abs())).all()


def test_a_row_does_not_depend_on_its_batch(ops: Ops) -> None:
    layer = ops.pack_linear(quantize_int8(torch.randn(70, 192)), None)
    x = torch.randn(40, 192).bfloat16()
    whole = layer(x)
    for rows in (1, 2, 3, 5, 32):
        assert torch.equal(layer(x[4 : 4 + rows]), whole[4 : 4 + rows])


def test_rows_and_columns_of_zeros(ops: Ops) -> None:
    weight = torch.randn(40, 64)
    weight[7] = 0
    layer = ops.pack_linear(quantize_int8(weight), None)
    x = torch.randn(3, 64).bfloat16()
    x[1] = 0
    out = layer(x)
    assert not out[1].any()
    assert not out[:, 7].any()
    assert out.isfinite().all()


def test_extreme_values_do_not_overflow(ops: Ops) -> None:
    weight = Int8Weight(torch.full((32, 4096), -127, dtype=torch.int8), torch.ones(32))
    out = ops.pack_linear(weight, None)(torch.full((2, 4096), 127.0).bfloat16(), torch.float32)
    torch.testing.assert_close(out, torch.full((2, 32), -127.0 * 127 * 4096))
