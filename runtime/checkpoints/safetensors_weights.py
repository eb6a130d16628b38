"""Reads tensors out of one or several safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import ModelLoadError

REOPEN_BYTES = 64 << 20


class SafetensorsWeights:
    """The tensors of ``files``, each file mapped into memory and read where needed.

    A decoder without its head, as checkpoints for embedding are saved, has its names without
    ``model.``; here they have it.

    Mapped pages count as this process's memory as long as the file is open or a tensor is a view of
    it, so a file is opened anew every so often: else loading would hold the weights twice.

    Raises:
        ModelLoadError: a file is truncated or not of the format.
    """

    def __init__(self, files: list[Path]) -> None:
        self._path_of: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self._read_bytes = 0
        for path in files:
            self._path_of |= dict.fromkeys(self._file(path).keys(), path)
        self._prefix = "model." if "embed_tokens.weight" in self._path_of else ""

    def names(self) -> frozenset[str]:
        return frozenset(self._prefix + name for name in self._path_of)

    def read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        stored = name.removeprefix(self._prefix)
        path = self._path_of.get(stored)
        if path is None:
            raise ModelLoadError(f"weight {name} is missing from the checkpoint")
        if self._read_bytes > REOPEN_BYTES:
            self._open.clear()
            self._read_bytes = 0
        tensor: torch.Tensor = self._file(path).get_tensor(stored)
        self._read_bytes += tensor.nbytes
        return tensor

    def stored(self, name: str) -> None:
        return None

    def _file(self, path: Path) -> Any:
        file = self._open.get(path)  # threads read at the same time
        if file is None:
            try:
                file = self._open[path] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise ModelLoadError(
                    f"{path} is truncated or not a safetensors file: {error}"
                ) from error
        return file
