"""A Hugging Face folder: configs, tokenizer.json and (sharded) safetensors, plain, AWQ or GPTQ.

Pickled weights (.bin, .pt) are never opened.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelLoadError
from ..text.tokenizer import Tokenizer
from .config import ModelConfig
from .embedding_config import EmbeddingConfig
from .packed_config import PackedConfig

if TYPE_CHECKING:
    import torch

    from .weights import StoredFormat, WeightSource

_MAX_JSON_BYTES = 64 << 20


class HuggingFaceCheckpoint:
    """The model in ``folder``.

    Raises:
        ModelLoadError: there is no config.json, or it is broken or of an unknown architecture.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        config = _read_json(folder / "config.json")
        if config is None:
            raise ModelLoadError(f"{folder} holds no config.json, so it is not a model folder")
        self._packing = PackedConfig.from_hf(config)
        model_config = ModelConfig.from_hf(config, _read_json(folder / "generation_config.json"))
        pooling = _read_json(folder / "1_Pooling" / "config.json")
        self.config = replace(
            model_config, embedding=EmbeddingConfig.from_hf(config, pooling or {})
        )

    @property
    def files(self) -> list[Path]:
        return [self.folder / "config.json", *sorted(self.folder.glob("*.safetensors"))]

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_folder(
            self.folder,
            vocab_size=self.config.vocab_size,
            eos_token_ids=self.config.eos_token_ids,
        )

    def weights(self, dtype: torch.dtype, stored: StoredFormat | None = None) -> WeightSource:
        found = "plain" if self._packing is None else self._packing.method
        if stored not in (None, found):
            raise ModelLoadError(f"{self.folder} holds {found} weights, not {stored}")
        # Imports torch, which the API process never needs.
        from .safetensors_weights import SafetensorsWeights

        source = SafetensorsWeights(_weight_files(self.folder))
        if self._packing is None:
            return source
        from .packed_weights import PackedWeights

        return PackedWeights(source, self._packing, dtype, keep=stored is not None)


def _weight_files(folder: Path) -> list[Path]:
    index = _read_json(folder / "model.safetensors.index.json")
    if index is not None:
        files = sorted({folder / name for name in index.get("weight_map", {}).values()})
    elif (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        hint = "; pickled weights are not read: convert them to safetensors" if pickles else ""
        raise ModelLoadError(f"{folder} holds no safetensors weights{hint}")
    outside = [file for file in files if file.parent != folder]
    missing = [file for file in files if not file.is_file()]
    if outside or missing:
        raise ModelLoadError(
            f"{(outside + missing)[0]} is named by the index but is not in {folder}"
        )
    return files


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is no such file."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise ModelLoadError(f"{path} is over {_MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path} must hold a JSON object")
    return value
