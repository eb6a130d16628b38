"""How a model asks for its weights: by name, with the shape it expects, and each exactly once."""

from __future__ import annotations

import re
from typing import Literal, Protocol

import torch

from sglang_lang.kernels.block_weight import GGUFWeight, StoredWeight

from ..errors import ModelLoadError

# Packed matrices that can stay as the checkpoint stores them.
StoredFormat = Literal["gguf", "awq", "gptq"]

# Buffers that old checkpoints saved and every implementation computes anew.
_BUFFERS = re.compile(r"\.rotary_emb\.inv_freq$")


class WeightSource(Protocol):
    """Tensors of a checkpoint under their Hugging Face names."""

    def names(self) -> frozenset[str]:
        """Every name that should be read."""
        ...

    def read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor | StoredWeight:
        """One tensor, perhaps a view of the file; ``shape`` is a wish that the caller checks.

        Matrices may come quantised as they are stored.

        Raises:
            ModelLoadError: the checkpoint has no such tensor.
        """
        ...

    def stored(self, name: str) -> GGUFWeight | None:
        """A matrix's bytes in the file, if its rows can be looked up there; read before."""
        ...


class Weights:
    """A scope ("model.layers.3.") of a source that converts, checks shapes and keeps account.

    Args:
        source: where the tensors come from.
        dtype, device: what every tensor is converted to.
        prefix: put in front of every name asked for.
        unread: names that nobody has asked for yet; all of the source's when None.
    """

    def __init__(
        self,
        source: WeightSource,
        dtype: torch.dtype,
        device: torch.device,
        prefix: str = "",
        unread: set[str] | None = None,
    ) -> None:
        self.dtype = dtype
        self.device = device
        self._source = source
        self._prefix = prefix
        if unread is None:
            unread = {name for name in source.names() if not _BUFFERS.search(name)}
        self._unread = unread

    def scope(self, name: str) -> Weights:
        """The weights below ``name``; what is read there counts as read here."""
        prefix = f"{self._prefix}{name}."
        return Weights(self._source, self.dtype, self.device, prefix, self._unread)

    def take(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Read one tensor, in ``dtype`` if it differs from the other weights'.

        Raises:
            ModelLoadError: it is missing, or its shape is not the one the configuration implies.
        """
        return self.dense(self._read(name, shape), dtype)

    def take_matrix(self, name: str, out_size: int, in_size: int) -> torch.Tensor | StoredWeight:
        """Read the matrix [out_size, in_size] of a linear layer, quantised if the source keeps it.

        Raises:
            ModelLoadError: as ``take``.
        """
        matrix = self._read(name, (out_size, in_size))
        return self.dense(matrix) if isinstance(matrix, torch.Tensor) else matrix

    def dense(
        self, matrix: torch.Tensor | StoredWeight, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """The numbers of a matrix that may be quantised."""
        tensor = matrix if isinstance(matrix, torch.Tensor) else matrix.dequantize()
        return tensor.to(device=self.device, dtype=dtype or self.dtype)

    def rows_of(self, name: str, matrix: torch.Tensor | StoredWeight) -> torch.Tensor | GGUFWeight:
        """What to look up rows of a matrix in that has been taken.

        On a CPU that is the file where it holds them quantised: an embedding is seldom read, and
        would need the memory of a third of a small model.
        """
        stored = self._source.stored(self._prefix + name) if self.device.type == "cpu" else None
        return self.dense(matrix) if stored is None else stored

    def _read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor | StoredWeight:
        full_name = self._prefix + name
        tensor = self._source.read(full_name, shape)
        if tensor.shape != shape:
            raise ModelLoadError(
                f"weight {full_name} has shape {tuple(tensor.shape)}, the config implies {shape}"
            )
        self._unread.discard(full_name)
        return tensor

    def skip(self, name: str) -> None:
        """Leave a weight unread on purpose, if the checkpoint has it."""
        self._unread.discard(self._prefix + name)

    def check_all_read(self) -> None:
        """Raise ModelLoadError when the checkpoint holds weights the model did not ask for."""
        if self._unread:
            some = ", ".join(sorted(self._unread)[:3])
            raise ModelLoadError(
                f"the checkpoint has {len(self._unread)} weights this architecture does not use: "
                f"{some}"
            )
