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


def aligned_bytes(count: int) -> Tensor:
    """A tensor of ``count`` bytes that begins at a cache line."""
    memory = torch.empty(count + ALIGNMENT, dtype=torch.uint8)
    start = -memory.data_ptr() % ALIGNMENT
    return memory[start : start + count]


class PackedLinear:
    """A linear layer over a packed weight of float32 or bfloat16.

    Attributes:
        handle: what the library's functions take for this weight.
        dtype: element type of the inputs.
    """

    def __init__(self, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None) -> None:
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        weight = weight.contiguous()
        row_bytes = self.in_features * weight.itemsize
        self._groups = -(-row_bytes // GROUP_BYTES)
        num_panels = -(-self.out_features // PANEL)
        self._panels = aligned_bytes(num_panels * self._groups * PANEL * GROUP_BYTES)
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

    def __call__(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return PackedLinear(self._library, weight, bias)
