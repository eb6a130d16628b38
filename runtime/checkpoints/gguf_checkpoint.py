"""A GGUF file as a checkpoint: configuration, tokenizer, chat template and weights in one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelLoadError
from ..text.gguf_tokenizer import tokenizer_from_gguf
from ..text.tokenizer import Tokenizer
from .config import ModelConfig
from .embedding_config import EmbeddingConfig
from .gguf_config import hf_config
from .gguf_file import GGUFFile

if TYPE_CHECKING:
    import torch

    from .weights import StoredFormat, WeightSource


class GGUFCheckpoint:
    """The model in the GGUF file at ``path``.

    Raises:
        ModelLoadError: no GGUF, truncated, or of an unknown architecture.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.file = GGUFFile(path)
        with self._metadata_read():
            config = ModelConfig.from_hf(hf_config(self.file))
            architecture = self.file.metadata["general.architecture"]
            pooling_type = self.file.metadata.get(f"{architecture}.pooling_type")
            self.config = replace(config, embedding=EmbeddingConfig.from_gguf(pooling_type))

    @property
    def files(self) -> list[Path]:
        return [self.file.path]

    def tokenizer(self) -> Tokenizer:
        with self._metadata_read():
            return tokenizer_from_gguf(
                self.file.metadata,
                vocab_size=self.config.vocab_size,
                eos_token_ids=self.config.eos_token_ids,
            )

    @contextmanager
    def _metadata_read(self) -> Iterator[None]:
        """Metadata may hold values of any type; one that does not fit is the file's fault."""
        try:
            yield
        except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
            raise ModelLoadError(f"{self.file.path}: metadata is inconsistent: {error}") from error

    def weights(self, dtype: torch.dtype, stored: StoredFormat | None = None) -> WeightSource:
        if stored not in (None, "gguf"):
            raise ModelLoadError(f"{self.file.path} holds gguf weights, not {stored}")
        # Imports torch, which the API process never needs.
        from .gguf_weights import GGUFWeights

        return GGUFWeights(self.file, self.config, dtype, keep=stored is not None)
