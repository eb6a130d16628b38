"""Quantised linear layers against their references."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.kernels.block_weight import BlockWeight, quantize_int4
from sglang_lang.kernels.dispatch import REFERENCE, Ops
from sglang_lang.kernels.fp8_weight import quantize_fp8, quantize_rows
from sglang_lang.kernels.int8_weight import Int8Weight, quantize_int8
from sglang_lang.kernels.triton_ops import matmul
from sglang_lang.kernels.triton_ops.linear import LinearPacker

from .examples import assert_same, few

dtypes = st.sampled_from([torch.float32, torch.bfloat16])


def blocks(out: int, size: int, bits: int, block: int, minimums: bool, offset: int) -> BlockWeight:
    """A random matrix of this format, its scales exact in float16."""
    shape = (out, size // block)
    return BlockWeight(
        torch.randint(0, 2**bits, (out, size), dtype=torch.uint8),
        bits,
        (0.1 * torch.rand(shape)).half().float(),
        (torch.rand(shape) - 0.5).half().float() if minimums else None,
        offset,
    )


def check(
    packer: LinearPacker, weight: BlockWeight | Int8Weight, rows: int, dtype: torch.dtype
) -> None:
    out, size = weight.values.shape
    x, bias = torch.randn(rows, 2 * size).to(dtype)[:, :size], torch.randn(out)
    expected = x.float() @ weight.dequantize().t() + bias
    got = packer(weight, bias)(x, out_dtype=torch.float32)
    scale = float(expected.abs().amax()) if rows else 1.0
    # A dense product in bfloat16 rounds the weight, or the result, once more.
    tolerance = 1e-4 if dtype is torch.float32 or rows < packer.dense_rows else 2e-2
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * scale)
    assert packer(weight, None)(x).dtype is dtype


@pytest.fixture(scope="module")
def packer() -> LinearPacker:
    return LinearPacker(num_sms=4, dense_rows=24)


rows_of_x = st.sampled_from([0, 1, 5, 20, 40])


@few
@given(rows_of_x, st.sampled_from([(7, 40), (100, 700), (64, 2048)]), dtypes)
def test_int8(packer: LinearPacker, rows: int, shape: tuple[int, int], dtype: torch.dtype) -> None:
    check(packer, quantize_int8(torch.randn(shape)), rows, dtype)


@few
@given(
    rows_of_x,
    st.sampled_from([(7, 1), (100, 4)]),
    st.sampled_from([(4, 32, True, 0), (4, 128, True, 0), (4, 32, False, 8), (4, 384, True, 0)]),
    dtypes,
)
def test_int4(
    packer: LinearPacker,
    rows: int,
    shape: tuple[int, int],
    kind: tuple[int, int, bool, int],
    dtype: torch.dtype,
) -> None:
    bits, block, minimums, offset = kind
    check(packer, blocks(shape[0], shape[1] * block, bits, block, minimums, offset), rows, dtype)


@few
@given(
    rows_of_x,
    st.sampled_from([(5, 32, True, 0), (6, 16, False, 32), (8, 32, False, 128)]),
    dtypes,
)
def test_formats_of_more_than_four_bits(
    packer: LinearPacker, rows: int, kind: tuple[int, int, bool, int], dtype: torch.dtype
) -> None:
    bits, block, minimums, offset = kind
    check(packer, blocks(20, 9 * block, bits, block, minimums, offset), rows, dtype)


def test_int4_rounded_here(packer: LinearPacker) -> None:
    check(packer, quantize_int4(torch.randn(33, 96)), 3, torch.bfloat16)


@few
@given(rows_of_x, st.sampled_from([(7, 40), (100, 700), (64, 2048)]), dtypes)
def test_fp8(packer: LinearPacker, rows: int, shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight, bias = quantize_fp8(torch.randn(shape)), torch.randn(shape[0])
    x = torch.randn(rows, shape[1]).to(dtype)
    expected = REFERENCE.pack_linear(weight, bias)(x, out_dtype=torch.float32)
    got = packer(weight, bias)(x, out_dtype=torch.float32)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * shape[1] ** 0.5)


def test_activations_are_rounded_to_fp8_as_the_reference_does() -> None:
    x = torch.randn(5, 300) * torch.tensor([1.0, 1e-3, 1e4, 0.0, 7.0]).unsqueeze(1)
    values, scales = matmul.quantize_rows(x)
    expected, expected_scales = quantize_rows(x)
    torch.testing.assert_close(scales, expected_scales)
    # A division may end on the other side of a tie.
    assert (values.float() != expected.float()).float().mean() < 0.01
    torch.testing.assert_close(values.float(), expected.float(), rtol=0.13, atol=0.002)


def test_a_dense_layer(ops: Ops) -> None:
    weight, bias, x = torch.randn(20, 30), torch.randn(20), torch.randn(4, 30)
    expected = REFERENCE.pack_linear(weight, bias)(x)
    assert_same(ops.pack_linear(weight, bias)(x), expected)


def test_blocks_that_no_kernel_takes_are_refused(packer: LinearPacker) -> None:
    with pytest.raises(ValueError, match="blocks of 24 have no kernel"):
        packer(blocks(4, 48, 4, 24, True, 0), None)


def test_a_product_of_few_tiles_is_split_along_its_inputs() -> None:
    config = matmul.MatmulConfig()
    assert config.splits(tiles=4, steps=64, num_sms=132) == 16
    assert config.splits(tiles=4, steps=9, num_sms=132) == 2
    assert config.splits(tiles=1000, steps=64, num_sms=132) == 1
    assert replace(config, max_splits=1).splits(4, 64, 132) == 1
