"""The CPU implementation of linear layers: weights packed into panels for csrc/panel.h."""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.linear import Linear
from .elementwise import dense_rows
from .library import LinearWeight, dtype_code

PANEL = 32  # columns of a packed panel
GROUP_BYTES = 4
ALIGNMENT = 64
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

    def take(self, count: int) -> Tensor:
        """``count`` bytes that begin at a cache line; a chunk lives as long as a part of it."""
        rounded = -(-count // ALIGNMENT) * ALIGNMENT
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
    """A linear layer over a packed weight of float32 or bfloat16.

    Attributes:
        handle: what the library's functions take for this weight.
        dtype: element type of the inputs.
    """

    def __init__(
        self, library: ctypes.CDLL, arena: WeightArena, weight: Tensor, bias: Tensor | None
    ) -> None:
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        weight = weight.contiguous()
        row_bytes = self.in_features * weight.itemsize
        self._groups = -(-row_bytes // GROUP_BYTES)
        num_panels = -(-self.out_features // PANEL)
        self._panels = arena.take(num_panels * self._groups * PANEL * GROUP_BYTES)
        library.pack_panels(
            weight.data_ptr(), self.out_features, row_bytes, self._panels.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        self._bias: Tensor | None = None
        if bias is not None:
            self._bias = F.pad(bias.float(), (0, num_panels * PANEL - self.out_features))
        self._library = library
        self.handle = LinearWeight(
            dtype_code(weight.dtype), self.in_features, self.out_features,
            self._panels.data_ptr(), None if self._bias is None else self._bias.data_ptr(),
        )  # fmt: skip

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
        return F.pad(x, (0, self._groups * GROUP_BYTES // x.itemsize - self.in_features))


class LinearPacker:
    """``pack_linear`` over one loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._arena = WeightArena(library)

    def __call__(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return PackedLinear(self._library, self._arena, weight, bias)
