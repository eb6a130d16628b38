"""Weights quantised in blocks that share a scale: int4 groups, and the GGUF formats as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BlockWeight:
    """A matrix whose row n, column k stands for ``scale * (value - offset) + minimum``.

    Args:
        values: [out, in] uint8, below 2**bits.
        bits: of a value.
        scales: [out, in / block] float32.
        minimums: like scales, or None for 0.
        offset: subtracted from every value; 0 if there are minimums.
    """

    values: Tensor
    bits: int
    scales: Tensor
    minimums: Tensor | None
    offset: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        out_features, in_features = self.values.shape
        return out_features, in_features

    @property
    def block(self) -> int:
        return self.values.shape[1] // self.scales.shape[1]

    def dequantize(self) -> Tensor:
        """[out, in] float32."""
        weight = (self.values.float() - self.offset) * self._spread(self.scales)
        return weight if self.minimums is None else weight + self._spread(self.minimums)

    def _spread(self, per_block: Tensor) -> Tensor:
        return per_block.repeat_interleave(self.block, dim=1)


@dataclass(frozen=True, slots=True)
class GGUFWeight:
    """A matrix as a GGUF file holds it.

    Args:
        kind: name of the format, a key of ``GGUF_FORMATS``.
        raw: [out, row bytes] uint8.
        shape: (out, in).
    """

    kind: str
    raw: Tensor
    shape: tuple[int, int]

    def rows(self, ids: Tensor) -> GGUFWeight:
        """Some of the rows, in this order: ids [n] int64."""
        return GGUFWeight(self.kind, self.raw[ids], (len(ids), self.shape[1]))

    def unpack(self) -> BlockWeight:
        """The same numbers with one value a byte.

        Raises:
            ValueError: the format is not one of ``GGUF_FORMATS``.
        """
        if self.kind not in GGUF_FORMATS:
            allowed = ", ".join(GGUF_FORMATS)
            raise ValueError(f"GGUF format {self.kind!r} has no kernel; there are {allowed}")
        bytes_per_block, unpack = GGUF_FORMATS[self.kind]
        out_features, in_features = self.shape
        blocks = self.raw.view(out_features, -1, bytes_per_block)
        weight = unpack(blocks)
        return BlockWeight(
            values=weight.values.reshape(out_features, in_features),
            bits=weight.bits,
            scales=weight.scales.reshape(out_features, -1),
            minimums=None if weight.minimums is None else weight.minimums.reshape(out_features, -1),
            offset=weight.offset,
        )

    def dequantize(self) -> Tensor:
        """[out, in] float32."""
        return self.unpack().dequantize()


# A matrix as a checkpoint holds it: GGUF blocks, or AWQ's and GPTQ's groups.
StoredWeight: TypeAlias = GGUFWeight | BlockWeight


def merge(weights: Sequence[StoredWeight]) -> StoredWeight | None:
    """Matrices of one input under each other; None if their formats differ."""
    files = [weight for weight in weights if isinstance(weight, GGUFWeight)]
    blocks = [weight for weight in weights if isinstance(weight, BlockWeight)]
    if files and not blocks:
        return _merge_files(files)
    return _merge_blocks(blocks) if blocks and not files else None


def _merge_files(weights: Sequence[GGUFWeight]) -> GGUFWeight | None:
    first = weights[0]
    if any((w.kind, w.shape[1]) != (first.kind, first.shape[1]) for w in weights):
        return None
    rows = sum(weight.shape[0] for weight in weights)
    return GGUFWeight(
        first.kind, torch.cat([weight.raw for weight in weights]), (rows, first.shape[1])
    )


def _merge_blocks(weights: Sequence[BlockWeight]) -> BlockWeight | None:
    minimums = [weight.minimums for weight in weights if weight.minimums is not None]
    layouts = {(w.bits, w.block, w.offset, w.minimums is None) for w in weights}
    if len(layouts) > 1:
        return None
    return BlockWeight(
        values=torch.cat([weight.values for weight in weights]),
        bits=weights[0].bits,
        scales=torch.cat([weight.scales for weight in weights]),
        minimums=torch.cat(minimums) if minimums else None,
        offset=weights[0].offset,
    )


def quantize_int4(weight: Tensor, block: int = 32) -> BlockWeight:
    """The nearest matrix of four bits with a scale and a minimum to each block of a row.

    Args:
        weight: [out, in], floating; ``in`` a multiple of ``block``.
        block: values that share a scale.
    """
    out_features, in_features = weight.shape
    blocks = weight.float().view(out_features, -1, block)
    # Kernels hold scales and minimums in float16: what is rounded here is what they compute with.
    minimums = blocks.amin(dim=2).half().float()
    scales = ((blocks.amax(dim=2) - minimums) / 15).half().float()
    steps = torch.where(scales > 0, scales, 1.0).unsqueeze(2)
    values = ((blocks - minimums.unsqueeze(2)) / steps).round_().clamp_(0, 15)
    return BlockWeight(values.to(torch.uint8).view(out_features, in_features), 4, scales, minimums)


# The layouts below are those of ggml's block structures (ggml-common.h); b is [out, blocks, bytes].


def _half(b: Tensor) -> Tensor:
    """Two bytes to one float32: [..., 2 n] -> [..., n]."""
    return b.contiguous().view(torch.float16).float()


def _nibbles(b: Tensor) -> Tensor:
    """[..., n] -> [..., 2 n]: all low halves, then all high halves."""
    return torch.cat((b & 0xF, b >> 4), dim=-1)


def _q4_0(b: Tensor) -> BlockWeight:
    return BlockWeight(_nibbles(b[..., 2:]), 4, _half(b[..., :2]), None, offset=8)


def _q4_1(b: Tensor) -> BlockWeight:
    return BlockWeight(_nibbles(b[..., 4:]), 4, _half(b[..., :2]), _half(b[..., 2:4]))


def _q8_0(b: Tensor) -> BlockWeight:
    return BlockWeight(b[..., 2:] ^ 0x80, 8, _half(b[..., :2]), None, offset=128)


def _k_scales(b: Tensor) -> tuple[Tensor, Tensor]:
    """Eight 6-bit scales and eight 6-bit minimums out of 12 bytes, each times its super-scale.

    b: [..., 16]: the two super-scales, then bytes whose low 6 bits are scales 0-3 and minimums
    0-3; scales and minimums 4-7 have their low halves in the last four bytes and their two high
    bits on top of the first eight.
    """
    first, second, last = b[..., 4:8], b[..., 8:12], b[..., 12:16]
    scales = torch.cat((first & 63, (last & 0xF) | (first >> 6 << 4)), dim=-1)
    minimums = torch.cat((second & 63, (last >> 4) | (second >> 6 << 4)), dim=-1)
    return _half(b[..., :2]) * scales.float(), -_half(b[..., 2:4]) * minimums.float()


def _k_nibbles(b: Tensor) -> Tensor:
    """128 bytes to 256 values: each 32 bytes hold 32 values low and the next 32 high."""
    return _nibbles(b.reshape(*b.shape[:-1], -1, 32)).flatten(-2)


def _q4_k(b: Tensor) -> BlockWeight:
    scales, minimums = _k_scales(b[..., :16])
    return BlockWeight(_k_nibbles(b[..., 16:]), 4, scales, minimums)


def _q5_k(b: Tensor) -> BlockWeight:
    scales, minimums = _k_scales(b[..., :16])
    # Bit j of byte i is the fifth bit of value 32 j + i.
    shifts = torch.arange(8, dtype=torch.uint8).unsqueeze(1)
    fifth = (b[..., 16:48].unsqueeze(-2) >> shifts & 1).flatten(-2)
    return BlockWeight(_k_nibbles(b[..., 48:]) | fifth << 4, 5, scales, minimums)


def _q6_k(b: Tensor) -> BlockWeight:
    # Each half of 128 values: 64 bytes of low nibbles, 32 bytes of two high bits for four runs.
    outer = b.shape[:-1]
    low = _nibbles(b[..., :128].reshape(*outer, 2, 64))
    shifts = torch.arange(0, 8, 2, dtype=torch.uint8).unsqueeze(1)
    high = (b[..., 128:192].reshape(*outer, 2, 1, 32) >> shifts & 3).flatten(-2)
    scales = b[..., 192:208].contiguous().view(torch.int8).float() * _half(b[..., 208:210])
    return BlockWeight((low | high << 4).flatten(-2), 6, scales, None, offset=32)


# Name -> bytes of a block, and what makes values and scales of the blocks.
GGUF_FORMATS: dict[str, tuple[int, Callable[[Tensor], BlockWeight]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q8_0": (34, _q8_0),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}
