"""Reads tensors out of one or several safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import ModelLoadError


class SafetensorsWeights:
    """The tensors of ``files``, each file mapped into memory and read where needed.

    A decoder without its head, as checkpoints for embedding are saved, has its names without
    ``model.``; here they have it.

    Raises:
        ModelLoadError: a file is truncated or not of the format.
    """

    def __init__(self, files: list[Path]) -> None:
        self._file_of: dict[str, Any] = {}
        for path in files:
            try:
                file: Any = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise ModelLoadError(
                    f"{path} is truncated or not a safetensors file: {error}"
                ) from error
            self._file_of |= dict.fromkeys(file.keys(), file)
        self._prefix = "model." if "embed_tokens.weight" in self._file_of else ""

    def names(self) -> frozenset[str]:
        return frozenset(self._prefix + name for name in self._file_of)

    def read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        stored = name.removeprefix(self._prefix)
        file = self._file_of.get(stored)
        if file is None:
            raise ModelLoadError(f"weight {name} is missing from the checkpoint")
        tensor: torch.Tensor = file.get_tensor(stored)
        return tensor
