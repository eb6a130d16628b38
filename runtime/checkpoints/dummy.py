"""``--load-format dummy``: a model's shape with random weights, to measure without its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelLoadError
from ..text.tokenizer import Tokenizer
from .config import ModelConfig

if TYPE_CHECKING:
    import torch

    from .gguf_checkpoint import GGUFCheckpoint
    from .hf_checkpoint import HuggingFaceCheckpoint
    from .weights import StoredFormat, WeightSource


class DummyCheckpoint:
    """Configuration and tokenizer of ``original``, random weights seeded by name."""

    def __init__(self, original: GGUFCheckpoint | HuggingFaceCheckpoint) -> None:
        self._original = original
        self.name: str = original.name
        self.config: ModelConfig = original.config

    @property
    def files(self) -> list[Path]:
        return self._original.files

    def tokenizer(self) -> Tokenizer:
        return self._original.tokenizer()

    def weights(self, dtype: torch.dtype, stored: StoredFormat | None = None) -> WeightSource:
        if stored is not None:
            raise ModelLoadError("random weights are not quantised; drop one of the two settings")
        # Imports torch, which the API process never needs.
        from .dummy_weights import RandomWeights

        return RandomWeights(dtype)
