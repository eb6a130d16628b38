"""Linear layers of weights in blocks against float64 products with the dequantised weight."""

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


FORMATS = [
    (4, 32, False),
    (4, 32, True),
    (5, 32, True),
    (6, 16, False),
    (8, 32, False),
    (8, 32, True),
]


LARGEST = 127 * 256  # of the whole numbers that rows are rounded to


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 7, 15, 16, 40, 100])
@pytest.mark.parametrize(("bits", "block", "has_minimum"), FORMATS)
def test_every_format(ops: Ops, bits: int, block: int, has_minimum: bool, rows: int) -> None:
    weight = random_weight(bits, block, has_minimum, 70, 192)
    bias, x = torch.randn(70), torch.randn(rows, 192).bfloat16()
    layer = ops.pack_linear(weight, bias)
    assert (layer.in_features, layer.out_features) == (192, 70)
    matrix = weight.dequantize().double()
    actual = layer(x, out_dtype=torch.float32).double()
    steps = x.double().abs().view(rows, 192 // block, block).amax(dim=2) / LARGEST
    off = steps.repeat_interleave(block, dim=1) / 2
    if rows >= 16:  # where matrix units take bfloat16 weights are rounded to it
        off += x.double().abs() * 2**-8
    # Minimums and scaled values nearly cancel, so sums are as exact as their largest parts.
    bound = off @ matrix.abs().T + 1e-5 * (1 + x.double().abs() @ matrix.abs().T)
    assert ((actual - x.double() @ matrix.T - bias).abs() <= bound).all()


@pytest.mark.parametrize(("bits", "block", "has_minimum"), FORMATS)
def test_a_row_does_not_depend_on_its_batch(
    ops: Ops, bits: int, block: int, has_minimum: bool
) -> None:
    layer = ops.pack_linear(random_weight(bits, block, has_minimum, 70, 192), None)
    x = torch.randn(15, 192).bfloat16()
    whole = layer(x)
    for rows in (1, 2, 3, 5, 8):
        assert torch.equal(layer(x[4 : 4 + rows]), whole[4 : 4 + rows])


def test_float32_activations_are_taken(ops: Ops) -> None:
    weight = random_weight(4, 32, True, 40, 96)
    layer = ops.pack_linear(weight, None)
    x = torch.randn(3, 96)
    assert layer(x).dtype == torch.float32
    assert torch.equal(layer(x), layer(x.bfloat16(), out_dtype=torch.float32))


def test_a_block_no_kernel_takes_is_refused(ops: Ops) -> None:
    with pytest.raises(ValueError, match="blocks of 64 values of 4 bits"):
        ops.pack_linear(random_weight(4, 64, False, 8, 128), None)
