"""Turns the block formats of GGUF back into floating-point values.

The formats that model files use are written in torch, several times quicker than the ``gguf``
package, which serves the rest. Layouts: ggml/src/ggml-common.h and ggml-quants.c of
https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .gguf_file import BlockFormat

_CHUNK_VALUES = 1 << 18  # at a time: the float32 values between stay in the processor's cache
_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def dequantize(raw: npt.NDArray[np.uint8], block: BlockFormat, dtype: torch.dtype) -> Tensor:
    """The values of a tensor.

    Args:
        raw: its bytes, [blocks * block.nbytes].
        block: its format.
        dtype: what quantised values become (computed in float32); floats keep their own.

    Returns:
        [values]; a view of ``raw`` for a float format.
    """
    data = torch.from_numpy(raw)
    if block.name in _FLOATS:
        return data.view(_FLOATS[block.name])
    unpack = _BLOCKS.get(block.name)
    if unpack is None:
        return _by_gguf_package(raw, block).to(dtype)
    blocks = data.view(-1, block.nbytes)
    values = torch.empty(len(blocks), block.elements, dtype=dtype)
    step = _CHUNK_VALUES // block.elements
    for start in range(0, len(blocks), step):
        chunk = unpack(blocks[start : start + step])
        values[start : start + step] = chunk.view(-1, block.elements)
    return values.view(-1)


# Each function below takes blocks [N, nbytes] uint8 and returns their values, N major, float32.


def _q4_0(blocks: Tensor) -> Tensor:
    scale, packed = _halves(blocks, 0), blocks[:, 2:]
    return _nibbles(packed).sub_(8.0).mul_(scale)


def _q4_1(blocks: Tensor) -> Tensor:
    scale, low, packed = _halves(blocks, 0), _halves(blocks, 2), blocks[:, 4:]
    return _nibbles(packed).mul_(scale).add_(low)


def _q5_0(blocks: Tensor) -> Tensor:
    scale, high, packed = _halves(blocks, 0), blocks[:, 2:6], blocks[:, 6:]
    return _nibbles(packed).add_(_bits(high), alpha=16.0).sub_(16.0).mul_(scale)


def _q5_1(blocks: Tensor) -> Tensor:
    scale, low = _halves(blocks, 0), _halves(blocks, 2)
    high, packed = blocks[:, 4:8], blocks[:, 8:]
    return _nibbles(packed).add_(_bits(high), alpha=16.0).mul_(scale).add_(low)


def _q8_0(blocks: Tensor) -> Tensor:
    scale, values = _halves(blocks, 0), blocks[:, 2:].view(torch.int8)
    return values.float().mul_(scale)


def _q4_k(blocks: Tensor) -> Tensor:
    scales, lows = _k_scales(blocks)
    values = _nibble_pairs(blocks[:, 16:])
    return values.mul_(scales).sub_(lows)


def _q5_k(blocks: Tensor) -> Tensor:
    scales, lows = _k_scales(blocks)
    values = _nibble_pairs(blocks[:, 48:])
    # bit s of high[l] is the fifth bit of value l of sub-block s
    shifts = torch.arange(8, dtype=torch.uint8, device=blocks.device).view(1, 8, 1)
    high = (blocks[:, 16:48].unsqueeze(1) >> shifts) & 1  # [N, 8, 32]
    return values.add_(high, alpha=16.0).mul_(scales).sub_(lows)


def _q6_k(blocks: Tensor) -> Tensor:
    num_blocks = len(blocks)
    low = blocks[:, :128].reshape(num_blocks, 2, 1, 64)  # two halves of 128 values each
    low = torch.cat((low & 15, low >> 4), dim=2).view(num_blocks, 2, 4, 32)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8, device=blocks.device).view(1, 1, 4, 1)
    high = (blocks[:, 128:192].reshape(num_blocks, 2, 1, 32) >> shifts) & 3
    scales = blocks[:, 192:208].contiguous().view(torch.int8).float() * _halves(blocks, 208)
    values = (low | (high << 4)).float().sub_(32.0)
    return values.view(num_blocks, 16, 16).mul_(scales.unsqueeze(-1))


_BLOCKS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}


def _halves(blocks: Tensor, start: int) -> Tensor:
    """The float16 at byte ``start`` of each block, as float32 [N, 1]."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """[N, K] bytes -> [N, 2 K] float32: all low nibbles, then all high ones."""
    return torch.cat((packed & 15, packed >> 4), dim=1).float()


def _bits(packed: Tensor) -> Tensor:
    """[N, 4] bytes -> [N, 32] uint8: the bits, lowest first."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed.unsqueeze(-1) >> shifts) & 1).flatten(1)


def _nibble_pairs(packed: Tensor) -> Tensor:
    """[N, 128] bytes -> [N, 8, 32] float32: of each 32 bytes the low nibbles, then the high."""
    chunks = packed.reshape(-1, 4, 1, 32)
    return torch.cat((chunks & 15, chunks >> 4), dim=2).view(-1, 8, 32).float()


def _k_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and minimum of the eight sub-blocks of Q4_K and Q5_K, [N, 8, 1] each.

    Twelve bytes hold sixteen 6-bit numbers: the first four of each kind plainly, the upper two bits
    of those bytes complete the last four, whose lower bits share the last four bytes.
    """
    first, second, last = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat((first & 63, (last & 15) | ((first >> 6) << 4)), dim=1)
    lows = torch.cat((second & 63, (last >> 4) | ((second >> 6) << 4)), dim=1)
    scale, low_scale = _halves(blocks, 0), _halves(blocks, 2)
    return (scales * scale).unsqueeze(-1), (lows * low_scale).unsqueeze(-1)


def _by_gguf_package(raw: npt.NDArray[np.uint8], block: BlockFormat) -> Tensor:
    # Imported for rare formats only: it takes longer than to dequantise a small model.
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize as gguf_dequantize

    values = gguf_dequantize(raw.reshape(-1, block.nbytes), GGMLQuantizationType[block.name])
    return torch.from_numpy(values).view(-1)
