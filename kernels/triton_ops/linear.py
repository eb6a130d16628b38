"""Linear layers on a GPU: the vendor's library for dense weights, Triton for quantised ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from ..block_weight import BlockWeight, GGUFWeight
from ..fp8_weight import Fp8Weight
from ..int8_weight import Int8Weight
from ..ops.linear import Linear, ReferenceLinear, Weight
from .matmul import (
    FP8_DEPTH,
    SMALLEST_DOT,
    MatmulConfig,
    block_kernel,
    channel_kernel,
    dequantize_kernel,
    quantize_rows,
)

LARGEST_BLOCK = 128  # inputs of a tile of block_kernel
NIBBLE_BITS = 4
# From so many rows on a product is bound by arithmetic: the weight is made dense for it first.
DENSE_ROWS = 512


@dataclass(frozen=True, slots=True)
class LinearPacker:
    """``pack_linear`` for a device with this many multiprocessors."""

    num_sms: int
    config: MatmulConfig = MatmulConfig()
    dense_rows: int = DENSE_ROWS

    def __call__(self, weight: Weight, bias: Tensor | None) -> Linear:
        if isinstance(weight, Tensor):
            return ReferenceLinear(weight.contiguous(), bias)
        if isinstance(weight, GGUFWeight):
            weight = weight.unpack()
        if isinstance(weight, BlockWeight):
            return BlockLinear(weight, bias, self)
        if isinstance(weight, Fp8Weight):
            return Fp8Linear(weight, bias, self)
        return Int8Linear(weight, bias, self)


class _Product:
    """Where the parts of one product go: straight to the result, or summed into it."""

    def __init__(self, num_rows: int, columns: int, steps: int, packer: LinearPacker) -> None:
        config = packer.config
        self.block_m = config.rows(num_rows)
        self.grid = (triton.cdiv(columns, config.block_n), triton.cdiv(num_rows, self.block_m))
        self.splits = config.splits(self.grid[0] * self.grid[1], steps, packer.num_sms)
        self.steps = triton.cdiv(steps, self.splits)  # of a part
        self.shape = (self.splits, num_rows, columns)

    def parts(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """[splits, num_rows, columns], for a kernel to fill."""
        return torch.empty(
            self.shape, dtype=dtype if self.splits == 1 else torch.float32, device=device
        )

    def result(self, parts: Tensor, dtype: torch.dtype) -> Tensor:
        return parts[0] if self.splits == 1 else parts.sum(0).to(dtype)


class Int8Linear:
    """Eight-bit weights, activations as they are."""

    def __init__(self, weight: Int8Weight, bias: Tensor | None, packer: LinearPacker) -> None:
        self.out_features, self.in_features = weight.values.shape
        self._values = weight.values.contiguous()
        self._scales = weight.scales.float().contiguous()
        self._bias = None if bias is None else bias.float()
        self._packer = packer

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        dtype = out_dtype or x.dtype
        if x.shape[0] >= self._packer.dense_rows:  # whole numbers up to 127 are exact in any type
            out = F.linear(x, self._values.to(x.dtype)).float() * self._scales
            return (out if self._bias is None else out + self._bias).to(dtype)
        return _channel_product(
            x, None, self._values, self._scales, self._bias, dtype, self._packer
        )


class Fp8Linear:
    """Eight-bit floating weights and activations, which are scaled token by token as they come."""

    def __init__(self, weight: Fp8Weight, bias: Tensor | None, packer: LinearPacker) -> None:
        self.out_features, self.in_features = weight.values.shape
        self._values = weight.values.contiguous()
        self._scales = weight.scales.float().contiguous()
        self._bias = None if bias is None else bias.float()
        self._packer = packer

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        dtype = out_dtype or x.dtype
        if x.shape[0] == 0:
            return x.new_empty((0, self.out_features), dtype=dtype)
        values, x_scales = quantize_rows(x)
        return _channel_product(
            values, x_scales, self._values, self._scales, self._bias, dtype, self._packer
        )


def _channel_product(
    x: Tensor,
    x_scales: Tensor | None,
    values: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    packer: LinearPacker,
) -> Tensor:
    config, (columns, depth) = packer.config, values.shape
    if x.shape[0] == 0:
        return torch.empty((0, columns), dtype=dtype, device=x.device)
    block_k = min(config.block_k, max(int(triton.next_power_of_2(depth)), FP8_DEPTH))
    product = _Product(x.shape[0], columns, triton.cdiv(depth, block_k), packer)
    parts = product.parts(dtype, x.device)
    channel_kernel[(*product.grid, product.splits)](
        x, values, scales if x_scales is None else x_scales, scales,
        scales if bias is None else bias, parts, x.shape[0], x.stride(0), product.steps * block_k,
        N=columns, K=depth, HAS_X_SCALES=x_scales is not None, HAS_BIAS=bias is not None,
        BLOCK_M=product.block_m, BLOCK_N=config.block_n, BLOCK_K=block_k,
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return product.result(parts, dtype)


class BlockLinear:
    """Weights in blocks of a row: int4 groups, AWQ, GPTQ, GGUF formats.

    Held block by block, each block's channels behind each other, so that a tile is one run of
    memory; values of four bits or fewer two to a byte, others one.
    """

    def __init__(self, weight: BlockWeight, bias: Tensor | None, packer: LinearPacker) -> None:
        self.out_features, self.in_features = weight.values.shape
        self._is_nibbles = weight.bits <= NIBBLE_BITS
        self._block = _tile_of(weight.block, 2 * SMALLEST_DOT if self._is_nibbles else SMALLEST_DOT)
        repeats = weight.block // self._block
        blocks = weight.values.view(self.out_features, -1, self._block).transpose(0, 1)
        if self._is_nibbles:
            first, second = blocks.chunk(2, dim=2)
            blocks = first | second << NIBBLE_BITS
        self._values = blocks.contiguous()
        self._scales = _per_block(weight.scales, repeats)
        self._minimums = None if weight.minimums is None else _per_block(weight.minimums, repeats)
        self._offset = weight.offset
        self._bias = None if bias is None else bias.float()
        self._packer = packer

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        dtype = out_dtype or x.dtype
        if x.shape[0] == 0:
            return x.new_empty((0, self.out_features), dtype=dtype)
        if x.shape[0] >= self._packer.dense_rows:
            out = F.linear(x, self._dequantized(x.dtype))
            return (out if self._bias is None else out + self._bias).to(dtype)
        config = self._packer.config
        blocks = self.in_features // self._block
        product = _Product(x.shape[0], self.out_features, blocks, self._packer)
        parts = product.parts(dtype, x.device)
        block_kernel[(*product.grid, product.splits)](
            x, self._values, self._scales, self._minimum_tensor(),
            self._scales if self._bias is None else self._bias, parts, x.shape[0], x.stride(0),
            product.steps, N=self.out_features, BLOCKS=blocks, NIBBLES=self._is_nibbles,
            OFFSET=self._offset, HAS_MINIMUMS=self._minimums is not None,
            HAS_BIAS=self._bias is not None, BLOCK_M=product.block_m, BLOCK_N=config.block_n,
            BLOCK_K=self._block, num_warps=config.num_warps, num_stages=config.num_stages,
        )  # fmt: skip
        return product.result(parts, dtype)

    def _dequantized(self, dtype: torch.dtype) -> Tensor:
        shape = (self.out_features, self.in_features)
        dense = torch.empty(shape, dtype=dtype, device=self._values.device)
        block_n = self._packer.config.block_n
        grid = (triton.cdiv(self.out_features, block_n), self.in_features // self._block)
        dequantize_kernel[grid](
            self._values, self._scales, self._minimum_tensor(), dense, N=self.out_features,
            BLOCKS=grid[1], NIBBLES=self._is_nibbles, OFFSET=self._offset,
            HAS_MINIMUMS=self._minimums is not None, BLOCK_N=block_n, BLOCK_K=self._block,
        )  # fmt: skip
        return dense

    def _minimum_tensor(self) -> Tensor:
        return self._scales if self._minimums is None else self._minimums


def _tile_of(block: int, smallest: int) -> int:
    """Inputs of a tile that share a scale: the largest power of two in a block."""
    tile = min(block & -block, LARGEST_BLOCK)
    if tile < smallest:
        raise ValueError(
            f"weights in blocks of {block} have no kernel: a block must be a multiple of {smallest}"
        )
    return tile


def _per_block(numbers: Tensor, repeats: int) -> Tensor:
    """[out, in / block] to [in / tile, out] in float16, which is what checkpoints round to."""
    return numbers.half().repeat_interleave(repeats, dim=1).t().contiguous()
