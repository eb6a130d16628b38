"""fp8 rows: the nearest values there are, and layers that round their activations."""

from __future__ import annotations

import torch

from sglang_lang.kernels.dispatch import REFERENCE
from sglang_lang.kernels.fp8_weight import quantize_fp8, saturate


def test_rounding_is_within_half_a_step() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(6, 50) * torch.tensor([1.0, 1e-4, 1e4, 0.0, 3.0, 7.0]).unsqueeze(1)
    weight = quantize_fp8(matrix)
    # Three bits behind the leading one; the smallest step is 2**-9 of a scale.
    atol = float(weight.scales.max()) * 2**-10
    torch.testing.assert_close(weight.dequantize(), matrix, rtol=2**-4, atol=atol)


def test_what_is_too_large_saturates() -> None:
    assert saturate(torch.tensor([1e6, -500.0, 448.0])).tolist() == [448.0, -448.0, 448.0]


def test_the_reference_layer_is_near_the_dense_one() -> None:
    torch.manual_seed(0)
    matrix, bias, x = torch.randn(20, 256), torch.randn(20), torch.randn(5, 256)
    exact = x @ matrix.t() + bias
    got = REFERENCE.pack_linear(quantize_fp8(matrix), bias)(x)
    assert (got - exact).norm() < 0.05 * exact.norm()
