"""Quantised linear layers against float64 products with the dequantised weight."""

from __future__ import annotations

import pytest
import torch

from sglang_lang.kernels.block_weight import BlockWeight
from sglang_lang.kernels.dispatch import Ops


def random_weight(
    kind_bits: int, block: int, has_minimum: bool, out_features: int, in_features: int
) -> BlockWeight:
    torch.manual_seed(kind_bits)
    shape = (out_features, in_features // block)
    return BlockWeight(
        values=torch.randint(0, 2**kind_bits, (out_features, in_features), dtype=torch.uint8),
        bits=kind_bits,
        scales=(0.01 + 0.05 * torch.rand(shape)).half().float(),
        minimums=(-0.3 * torch.rand(shape)).half().float() if has_minimum else None,
        offset=0 if has_minimum else 2 ** (kind_bits - 1),
    )


FORMATS = [(4, 32, False), (4, 32, True), (5, 32, True), (6, 16, False), (8, 32, False)]


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 15, 16, 40])
@pytest.mark.parametrize(("bits", "block", "has_minimum"), FORMATS)
def test_every_format(ops: Ops, bits: int, block: int, has_minimum: bool, rows: int) -> None:
    weight = random_weight(bits, block, has_minimum, 70, 192)
    bias, x = torch.randn(70), torch.randn(rows, 192).bfloat16()
    layer = ops.pack_linear(weight, bias)
    assert (layer.in_features, layer.out_features) == (192, 70)
    expected = x.double() @ weight.dequantize().double().T + bias
    actual = layer(x, out_dtype=torch.float32).double()
    # Rounding weights to bfloat16 (in larger batches) is off by 2^-9 of each product at most.
    bound = x.double().abs() @ weight.dequantize().double().abs().T * 2**-8 + 1e-4
    assert ((actual - expected).abs() <= bound).all()


@pytest.mark.parametrize(("bits", "block", "has_minimum"), FORMATS)
def test_a_few_rows_are_exact(ops: Ops, bits: int, block: int, has_minimum: bool) -> None:
    weight = random_weight(bits, block, has_minimum, 40, 96)
    x = torch.randn(3, 96).bfloat16()
    actual = ops.pack_linear(weight, None)(x, out_dtype=torch.float32)
    expected = x.double() @ weight.dequantize().double().T
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-4)


def test_float32_activations_are_taken(ops: Ops) -> None:
    weight = random_weight(4, 32, True, 40, 96)
    layer = ops.pack_linear(weight, None)
    x = torch.randn(3, 96)
    assert layer(x).dtype == torch.float32
    assert torch.equal(layer(x), layer(x.bfloat16(), out_dtype=torch.float32))


def test_a_block_no_kernel_takes_is_refused(ops: Ops) -> None:
    with pytest.raises(ValueError, match="blocks of 64 values of 4 bits"):
        ops.pack_linear(random_weight(4, 64, False, 8, 128), None)
