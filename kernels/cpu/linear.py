"""The CPU implementation of linear layers: weights packed into panels for csrc/panel.h."""

from __future__ import annotations

import ctypes
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from ..block_weight import BlockWeight, GGUFWeight
from ..fp8_weight import Fp8Weight
from ..int8_weight import Int8Weight
from ..ops.linear import Linear, Weight
from .elementwise import dense_rows
from .library import BlockFormat, LinearWeight, dtype_code

PANEL = 32  # columns of a packed panel
GROUP_BYTES = 4
ALIGNMENT = 64
WEIGHT_BLOCKS = 2  # kinds of csrc/linear.h; 0 and 1 are the codes of the dense element types
WEIGHT_INT8 = 3
INT8_STEP = 64  # channels of a row that share a scale, as in csrc/int8.h
LOW_BITS = 4
BLOCK_OF_HIGH_BITS = {0: 32, 1: 32, 2: 16, 4: 32}  # what csrc/blocks.cpp is built for
HUGE_PAGE = 2 << 20
ARENA_BYTES = 32 << 20


class WeightArena:
    """Memory for packed weights out of large chunks on huge pages.

    A decoding step reads every weight once, so with 4 KiB pages it would miss the TLB, and the
    hardware's prefetchers would stop, every 4 KiB.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._free = torch.empty(0, dtype=torch.uint8)
        self._lock = Lock()

    def take(self, count: int) -> Tensor:
        """``count`` bytes that begin at a cache line; a chunk lives as long as a part of it."""
        rounded = -(-count // ALIGNMENT) * ALIGNMENT
        with self._lock:
            if rounded > len(self._free):
                self._free = self._new_chunk(max(rounded, ARENA_BYTES))
            taken, self._free = self._free[:count], self._free[rounded:]
        return taken

    def _new_chunk(self, count: int) -> Tensor:
        memory = torch.empty(count + HUGE_PAGE, dtype=torch.uint8)
        start = -memory.data_ptr() % HUGE_PAGE
        chunk = memory[start : start + count]
        self._library.advise_huge_pages(chunk.data_ptr(), count)
        return chunk


class PackedLinear:
    """A linear layer over a packed weight.

    Args:
        library: the loaded kernels.
        handle: what the library's functions take for this weight; its ``bias`` is filled in here.
        dtype: element type of the inputs.
        panels: the memory that the handle points to.
        bias: [out_features], or None.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        handle: LinearWeight,
        dtype: torch.dtype,
        panels: Tensor,
        bias: Tensor | None,
    ) -> None:
        self.in_features: int = handle.in_features
        self.out_features: int = handle.out_features
        self.dtype = dtype
        self.handle = handle
        self._library = library
        self._panels = panels
        self._bias: Tensor | None = None
        if bias is not None:
            self._bias = F.pad(bias.float(), (0, -self.out_features % PANEL))
            handle.bias = self._bias.data_ptr()

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        out = torch.empty((x.shape[0], self.out_features), dtype=out_dtype or x.dtype)
        x = self._prepare(x)
        stride_groups = x.stride(0) * x.itemsize // GROUP_BYTES
        self._library.linear(
            ctypes.byref(self.handle), x.data_ptr(), stride_groups, x.shape[0],
            dtype_code(out.dtype), out.data_ptr(), out.stride(0), torch.get_num_threads(),
        )  # fmt: skip
        return out

    def _prepare(self, x: Tensor) -> Tensor:
        """Rows of whole 4-byte groups in the weight's element type."""
        x = dense_rows(x.to(self.dtype))
        row_bytes, stride_bytes = self.in_features * x.itemsize, x.stride(0) * x.itemsize
        if (row_bytes | stride_bytes | x.data_ptr()) % GROUP_BYTES == 0:
            return x
        return F.pad(x, (0, -self.in_features % (GROUP_BYTES // x.itemsize)))


class LinearPacker:
    """``pack_linear`` over one loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._arena = WeightArena(library)

    def __call__(self, weight: Weight, bias: Tensor | None) -> Linear:
        if isinstance(weight, GGUFWeight):
            weight = weight.unpack()
        if isinstance(weight, BlockWeight):
            return self._pack_blocks(weight, bias)
        if isinstance(weight, Int8Weight):
            return self._pack_int8(weight, bias)
        if isinstance(weight, Fp8Weight):  # no CPU here multiplies fp8
            weight = weight.dequantize().to(torch.bfloat16)
        return self._pack_dense(weight.contiguous(), bias)

    def _pack_dense(self, weight: Tensor, bias: Tensor | None) -> PackedLinear:
        out_features, in_features = weight.shape
        row_bytes = in_features * weight.itemsize
        groups = -(-row_bytes // GROUP_BYTES)
        panels = self._arena.take(_num_panels(out_features) * groups * PANEL * GROUP_BYTES)
        self._library.pack_panels(
            weight.data_ptr(), out_features, row_bytes, panels.data_ptr(), torch.get_num_threads()
        )
        handle = LinearWeight(
            dtype_code(weight.dtype), in_features, out_features, panels.data_ptr(), None
        )
        return PackedLinear(self._library, handle, weight.dtype, panels, bias)

    def _pack_blocks(self, weight: BlockWeight, bias: Tensor | None) -> PackedLinear:
        out_features, in_features = weight.values.shape
        block, high_bits = weight.block, weight.bits - LOW_BITS
        if BLOCK_OF_HIGH_BITS.get(high_bits) != block:
            raise ValueError(f"no kernel for blocks of {block} values of {weight.bits} bits")
        has_minimum = weight.minimums is not None
        bits_per_block = PANEL * (16 * (1 + has_minimum) + block * weight.bits)
        size = _num_panels(out_features) * (in_features // block) * bits_per_block // 8
        panels = self._arena.take(size)
        values, scales = weight.values.contiguous(), weight.scales.half().contiguous()
        minimums = None if weight.minimums is None else weight.minimums.half().contiguous()
        block_format = BlockFormat(block, high_bits, has_minimum, weight.offset)
        self._library.pack_blocks(
            ctypes.byref(block_format), values.data_ptr(), scales.data_ptr(),
            None if minimums is None else minimums.data_ptr(), out_features, in_features,
            panels.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        handle = LinearWeight(
            WEIGHT_BLOCKS, in_features, out_features, panels.data_ptr(), None, block_format
        )
        return PackedLinear(self._library, handle, torch.bfloat16, panels, bias)

    def _pack_int8(self, weight: Int8Weight, bias: Tensor | None) -> PackedLinear:
        out_features, in_features = weight.values.shape
        padded = -(-in_features // INT8_STEP) * INT8_STEP
        values, scales = weight.values.contiguous(), weight.scales.float().contiguous()
        panel_bytes = PANEL * (padded + scales.itemsize)
        panels = self._arena.take(_num_panels(out_features) * panel_bytes)
        self._library.pack_int8(
            values.data_ptr(), scales.data_ptr(), out_features, in_features, panels.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        handle = LinearWeight(WEIGHT_INT8, in_features, out_features, panels.data_ptr(), None)
        return PackedLinear(self._library, handle, torch.bfloat16, panels, bias)


def _num_panels(out_features: int) -> int:
    return -(-out_features // PANEL)
