"""What a checkpoint says about embedding texts: how its hidden states become one vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_GGUF_POOLINGS = {1: "mean", 3: "last"}  # llama.cpp's enum llama_pooling_type


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    """``pooling`` is None for a model that was not made for embedding.

    ``matryoshka``: the first components of its vectors are embeddings too (Kusupati et al.,
    Matryoshka Representation Learning).
    """

    pooling: Literal["mean", "last"] | None = None
    matryoshka: bool = False

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], pooling_config: Mapping[str, Any]
    ) -> EmbeddingConfig:
        """Read a ``config.json`` and sentence-transformers' ``1_Pooling/config.json``."""
        named = pooling_config.get("pooling_mode")  # of later releases; flags in earlier ones
        pooling: Literal["mean", "last"] | None = None
        if named == "lasttoken" or pooling_config.get("pooling_mode_lasttoken"):
            pooling = "last"
        elif named == "mean" or pooling_config.get("pooling_mode_mean_tokens"):
            pooling = "mean"
        matryoshka = config.get("is_matryoshka") or config.get("matryoshka_dimensions")
        return cls(pooling, bool(matryoshka))

    @classmethod
    def from_gguf(cls, pooling_type: Any) -> EmbeddingConfig:
        """Read the metadata key ``{architecture}.pooling_type``."""
        match _GGUF_POOLINGS.get(pooling_type):
            case "mean":
                return cls("mean")
            case "last":
                return cls("last")
        return cls()
