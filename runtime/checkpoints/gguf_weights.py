"""The tensors of a GGUF file under their Hugging Face names, as Hugging Face would hold them."""

from __future__ import annotations

import re

import torch

from sglang_lang.kernels.block_weight import GGUF_FORMATS, GGUFWeight

from ..errors import ModelLoadError
from .config import ModelConfig
from .gguf_dequantize import dequantize
from .gguf_file import GGUFFile, TensorInfo

_OUTER_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA3_LAYER_NAMES = _LAYER_NAMES | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
FORGET_BYTES = 16 << 20  # after so many bytes, what was read is given back
# What the file has besides weights: the rotary factors, which the configuration took.
_NO_WEIGHTS = frozenset({"rope_freqs.weight"})


class GGUFWeights:
    """Reads, dequantises and undoes what llama.cpp's conversion did to the values.

    Args:
        file: the opened file.
        config: the model's configuration.
        dtype: what quantised tensors become; float tensors keep theirs.
        keep: leave matrices as they are stored where there are kernels for their format.
    """

    def __init__(
        self, file: GGUFFile, config: ModelConfig, dtype: torch.dtype, keep: bool = False
    ) -> None:
        self._file = file
        self._config = config
        self._dtype = dtype
        self._kept_formats = frozenset(GGUF_FORMATS) if keep else frozenset()
        self._read_bytes = 0
        layer_names = _GEMMA3_LAYER_NAMES if config.family == "gemma3_text" else _LAYER_NAMES
        self._tensors = {
            _hf_name(name, layer_names): tensor
            for name, tensor in file.tensors.items()
            if name not in _NO_WEIGHTS
        }

    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def read(self, name: str, shape: tuple[int, ...]) -> torch.Tensor | GGUFWeight:
        info = self._tensors.get(name)
        if info is None:
            raise ModelLoadError(f"{self._file.path}: weight {name} is missing")
        self._read_bytes += info.nbytes
        if self._read_bytes > FORGET_BYTES:
            self._file.forget()
            self._read_bytes = 0
        if info.format.name in self._kept_formats and len(info.shape) == 2:
            return self._as_stored(name, info)
        tensor = dequantize(self._file.raw(info), info.format, self._dtype).view(info.shape)
        if self._config.family == "gemma3_text" and name.endswith("norm.weight"):
            return tensor - 1.0  # the file holds w + 1, which is what the formula multiplies by
        return self._original_order(name, tensor)

    def stored(self, name: str) -> GGUFWeight | None:
        info = self._tensors[name]
        is_known = info.format.name in GGUF_FORMATS and len(info.shape) == 2
        return self._as_stored(name, info) if is_known else None

    def _as_stored(self, name: str, info: TensorInfo) -> GGUFWeight:
        rows = torch.from_numpy(self._file.raw(info)).view(info.shape[0], -1)
        rows = self._original_order(name, rows)
        return GGUFWeight(info.format.name, rows, (info.shape[0], info.shape[1]))

    def _original_order(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        if self._config.architecture in ("llama", "mistral"):
            if ".q_proj." in name:
                return _unpermute(rows, self._config.num_heads)
            if ".k_proj." in name:
                return _unpermute(rows, self._config.num_kv_heads)
        return rows


def _hf_name(name: str, layer_names: dict[str, str]) -> str:
    """The Hugging Face name; one that is not known stays as it is, and so is reported unread."""
    stem, _, suffix = name.rpartition(".")  # suffix: weight or bias
    if stem in _OUTER_NAMES:
        return f"{_OUTER_NAMES[stem]}.{suffix}"
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if match and match[2] in layer_names:
        return f"model.layers.{match[1]}.{layer_names[match[2]]}.{suffix}"
    return name


def _unpermute(tensor: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Undo the reordering of q and k rows (weight [H * D, in] or bias [H * D]).

    llama.cpp rotates neighbouring pairs (2i, 2i + 1), Hugging Face the halves (i, i + D / 2), and
    the conversion of the llama architecture moves the rows so that both mean the same.
    """
    if len(tensor) % (2 * num_heads):
        raise ModelLoadError(f"{len(tensor)} rows of q or k do not fit {num_heads} heads")
    pairs = tensor.view(num_heads, -1, 2, *tensor.shape[1:])
    return pairs.transpose(1, 2).reshape(tensor.shape)
