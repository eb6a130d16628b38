"""The weights of AWQ and GPTQ checkpoints, in blocks as kernels take them or as dense matrices.

Both hold a linear layer [out, in] as ``qweight`` and ``qzeros`` (int32, several values in each) and
``scales`` [groups, out]: weight = scale * (value - zero). Layouts: AutoAWQ's "gemm" and AutoGPTQ's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sglang_lang.kernels.block_weight import BlockWeight, StoredWeight

from ..errors import ModelLoadError
from .packed_config import PackedConfig
from .weights import WeightSource

_WORD_BITS = 32
# Column of the i-th value in an int32 of AWQ, lowest bits first.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_BLOCK = 32  # values with one scale in the kernels
_PACKED_PARTS = ("qweight", "qzeros", "scales", "g_idx")


class PackedWeights:
    """Reads ``X.weight`` out of ``X.qweight`` and its kin; what is not packed passes through.

    Args:
        source: the checkpoint's tensors as they are stored.
        packing: how they are packed.
        dtype: what matrices become.
        keep: leave them quantised where there are kernels for their groups.
    """

    def __init__(
        self, source: WeightSource, packing: PackedConfig, dtype: torch.dtype, keep: bool = False
    ) -> None:
        self._source = source
        self._packing = packing
        self._dtype = dtype
        self._keep = keep
        stored = source.names()
        self._packed = {
            name.removesuffix("qweight") for name in stored if name.endswith(".qweight")
        }
        parts = {layer + part for layer in self._packed for part in _PACKED_PARTS}
        self._stored = stored
        self._names = (stored - parts) | {layer + "weight" for layer in self._packed}

    def names(self) -> frozenset[str]:
        return self._names

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor | StoredWeight:
        layer = name.removesuffix("weight")
        if not name.endswith("weight") or layer not in self._packed:
            return self._stored_tensor(name, shape)
        out_size, in_size = shape
        per_word = _WORD_BITS // self._packing.bits
        if out_size % per_word or in_size % per_word:
            raise ModelLoadError(f"weight {name}: {shape} cannot be packed {per_word} to a word")
        scales = self._stored_tensor(layer + "scales").float()
        zero_words = self._part(layer + "qzeros", (len(scales), out_size // per_word))
        if self._packing.method == "awq":
            words = self._part(layer + "qweight", (in_size, out_size // per_word))
            values, zeros = self._awq_columns(words), self._awq_columns(zero_words)
        else:
            words = self._part(layer + "qweight", (in_size // per_word, out_size))
            values = self._unpack(words.T).T  # [in, out]
            zeros = self._unpack(zero_words) + self._packing.zero_offset
        if scales.shape != zeros.shape:
            raise ModelLoadError(f"weight {layer}scales has shape {tuple(scales.shape)}")
        groups = self._groups(layer, in_size, len(scales))
        if self._keep and _are_runs_of_blocks(groups, len(scales)):
            return self._blocks(values, zeros, scales)
        return ((values - zeros[groups]) * scales[groups]).T.to(self._dtype)

    def _blocks(self, values: Tensor, zeros: Tensor, scales: Tensor) -> BlockWeight:
        """values [in, out], zeros and scales [groups, out]."""
        per_group = len(values) // len(scales) // _BLOCK
        columns = values.T.to(torch.uint8, memory_format=torch.contiguous_format)
        bits = max(self._packing.bits, 4)  # two bits lie in four
        scales_of_blocks = scales.T.repeat_interleave(per_group, dim=1)
        zero = int(zeros[0, 0])
        if bool((zeros == zero).all()):
            return BlockWeight(columns, bits, scales_of_blocks, None, offset=zero)
        minimums = (-scales * zeros).T.repeat_interleave(per_group, dim=1)
        return BlockWeight(columns, bits, scales_of_blocks, minimums)

    def stored(self, name: str) -> None:
        return None

    def _groups(self, layer: str, in_size: int, num_groups: int) -> Tensor:
        """[in] int64: the group of each input channel; GPTQ may have sorted them by importance."""
        if layer + "g_idx" not in self._stored:
            return torch.arange(in_size) * num_groups // in_size
        groups = self._part(layer + "g_idx", (in_size,)).long()
        if groups.min() < 0 or groups.max() >= num_groups:
            raise ModelLoadError(f"weight {layer}g_idx names a group that has no scale")
        return groups

    def _unpack(self, words: Tensor) -> Tensor:
        """[rows, n] int32 -> [rows, n * values in a word] int32, lowest bits first."""
        bits = self._packing.bits
        shifts = torch.arange(0, _WORD_BITS, bits, dtype=torch.int32)
        return ((words.unsqueeze(-1) >> shifts) & ((1 << bits) - 1)).flatten(1)

    def _awq_columns(self, words: Tensor) -> Tensor:
        values = self._unpack(words).view(len(words), -1, len(_AWQ_ORDER))
        columns = torch.empty_like(values)
        columns[:, :, list(_AWQ_ORDER)] = values
        return columns.flatten(1)

    def _part(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._stored_tensor(name, shape)
        if tensor.shape != shape or tensor.dtype is not torch.int32:
            raise ModelLoadError(
                f"weight {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, it must be int32 "
                f"of {shape}"
            )
        return tensor

    def _stored_tensor(self, name: str, shape: tuple[int, ...] = ()) -> Tensor:
        tensor = self._source.read(name, shape)
        assert isinstance(tensor, Tensor), f"{name} comes out of a safetensors file"
        return tensor


def _are_runs_of_blocks(groups: Tensor, num_groups: int) -> bool:
    """Whether the groups are equal runs of channels in order, each of whole blocks."""
    size = len(groups) // num_groups
    in_order = torch.arange(num_groups).repeat_interleave(size)
    return size % _BLOCK == 0 and torch.equal(groups, in_order)
