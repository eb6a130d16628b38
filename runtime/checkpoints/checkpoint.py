"""Opens a model wherever it lies: embedded, a folder, a GGUF file, a name on the hub.

Opening reads the configuration only and needs no torch, so the API process can have the tokenizer
cheaply; torch is imported by the process that asks for ``weights``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ..errors import ModelLoadError
from ..text.tokenizer import Tokenizer
from .config import ModelConfig
from .dummy import DummyCheckpoint
from .embedded import fetch_embedded_model
from .gguf_checkpoint import GGUFCheckpoint
from .hf_checkpoint import HuggingFaceCheckpoint
from .hub import HUB_NAME, fetch_from_hub

if TYPE_CHECKING:
    import torch

    from .weights import StoredFormat, WeightSource

LoadFormat = Literal["auto", "safetensors", "gguf", "dummy"]


class Checkpoint(Protocol):
    """A model at rest: what it is, its text side, and its weights when asked."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> ModelConfig: ...

    @property
    def files(self) -> list[Path]:
        """What decides the weights: configuration and weight files."""
        ...

    def tokenizer(self) -> Tokenizer:
        """Build the tokenizer (some 0.1 s); raises ModelLoadError where the checkpoint has none."""
        ...

    def weights(self, dtype: torch.dtype, stored: StoredFormat | None = None) -> WeightSource:
        """The weights under their Hugging Face names.

        Args:
            dtype: what quantised weights are dequantised to.
            stored: keep matrices as the checkpoint stores them, where kernels can; it must be
                the format of this checkpoint.

        Raises:
            ModelLoadError: no weights, broken ones, or none of the format asked for.
        """
        ...


def open_checkpoint(model_path: str | None, load_format: LoadFormat = "auto") -> Checkpoint:
    """Open a model and read its configuration.

    Args:
        model_path: a Hugging Face folder, a GGUF file or a hub name ("owner/model", downloaded
            once); None is the embedded SmolLM2-135M-Instruct, fetched on first use.
        load_format: "auto" decides by what is there; "safetensors" and "gguf" insist; "dummy"
            takes the configuration and fills the weights with seeded random numbers.

    Raises:
        ModelLoadError: nothing is there, or it is broken or of an unknown architecture.
    """
    path = fetch_embedded_model() if model_path is None else Path(model_path).expanduser()
    if model_path is not None and not path.exists():
        if not HUB_NAME.fullmatch(model_path):
            raise ModelLoadError(f"model path {model_path!r}: no such file or folder")
        path = fetch_from_hub(model_path)
    is_gguf = path.is_file()
    if load_format == ("safetensors" if is_gguf else "gguf"):
        found = "a file" if is_gguf else "a folder"
        raise ModelLoadError(f"load format {load_format!r} does not fit {path}, which is {found}")
    name = path.stem if model_path is None else Path(model_path.rstrip("/")).name
    checkpoint = GGUFCheckpoint(path, name) if is_gguf else HuggingFaceCheckpoint(path, name)
    return DummyCheckpoint(checkpoint) if load_format == "dummy" else checkpoint
