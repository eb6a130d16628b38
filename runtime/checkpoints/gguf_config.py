"""Puts a GGUF file's metadata into the form of a ``config.json``, for ``ModelConfig.from_hf``.

Key names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Where the file is silent and
llama.cpp has a constant for the architecture, that constant stands here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelLoadError
from .gguf_file import GGUFFile

# general.architecture -> (model_type, default of rope.freq_base)
_ARCHITECTURES = {
    "llama": ("llama", 10000.0),
    "mistral": ("mistral", 10000.0),
    "qwen2": ("qwen2", 10000.0),
    "qwen3": ("qwen3", 10000.0),
    "gemma3": ("gemma3_text", 1000000.0),
}
_FILE_TYPE_DTYPES = {0: "float32", 1: "float16"}
_GEMMA3_27B_LAYERS = 62  # the one size whose attention is not scaled by its head_dim
_GEMMA3_LOCAL_THETA = 10000.0
# Tokens that end a chat turn; instruct models have them besides the file's one eos_token_id.
_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>")


def hf_config(file: GGUFFile) -> dict[str, Any]:
    """The fields of a ``config.json`` that describe the model in ``file``.

    Raises:
        ModelLoadError: the architecture is unknown or a needed key is missing.
    """
    metadata = file.metadata
    architecture = metadata.get("general.architecture")
    if architecture not in _ARCHITECTURES:
        raise ModelLoadError(
            f"{file.path}: unknown architecture {architecture!r}; "
            f"supported in GGUF are {', '.join(_ARCHITECTURES)}"
        )
    model_type, rope_theta = _ARCHITECTURES[architecture]

    def get(key: str, default: Any = None) -> Any:
        return metadata.get(f"{architecture}.{key}", default)

    _check_supported(file, get("expert_count", 0))
    missing = [
        key
        for key in ("block_count", "embedding_length", "attention.head_count", "context_length")
        if get(key) is None
    ]
    if missing:
        raise ModelLoadError(f"{file.path}: the metadata lacks {architecture}.{missing[0]}")
    config = {
        "model_type": model_type,
        "architectures": [architecture],
        "hidden_size": get("embedding_length"),
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": get("attention.head_count"),
        "num_key_value_heads": get("attention.head_count_kv"),
        "head_dim": get("attention.key_length") or get("rope.dimension_count"),
        "vocab_size": _vocab_size(file),
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon", 1e-6),
        "rope_theta": get("rope.freq_base", rope_theta),
        "rope_scaling": _rope_scaling(file, architecture),
        "sliding_window": get("attention.sliding_window"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_output.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
        "final_logit_softcapping": get("final_logit_softcapping"),
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": _eos_token_ids(file),
        "dtype": _FILE_TYPE_DTYPES.get(metadata.get("general.file_type", -1), "bfloat16"),
    }
    if architecture == "gemma3":
        config |= _gemma3(config)
    return config


def _check_supported(file: GGUFFile, num_experts: int) -> None:
    num_parts = file.metadata.get("split.count", 1)
    if num_parts not in (0, 1):
        raise ModelLoadError(
            f"{file.path} is one of {num_parts} parts; join them first (llama-gguf-split --merge)"
        )
    if num_experts:
        raise ModelLoadError(f"{file.path}: models with experts ({num_experts}) are not supported")


def _gemma3(config: dict[str, Any]) -> dict[str, Any]:
    scale: dict[str, Any] = {}
    if config["num_hidden_layers"] == _GEMMA3_27B_LAYERS:
        scale["query_pre_attn_scalar"] = config["hidden_size"] // config["num_attention_heads"]
    return scale | {
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_local_base_freq": _GEMMA3_LOCAL_THETA,
    }


def _vocab_size(file: GGUFFile) -> int:
    """Rows of the embedding: the metadata may count the tokens without the padding rows."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelLoadError(f"{file.path}: tensor token_embd.weight is missing")
    return embedding.shape[0]


def _rope_scaling(file: GGUFFile, architecture: str) -> dict[str, Any] | None:
    """The scaling of the rotary embedding; Llama 3.1 stores its result as a tensor of factors."""
    prefix = f"{architecture}.rope.scaling."
    factors = file.tensors.get("rope_freqs.weight")
    if factors is not None:
        if factors.format.name != "F32":
            raise ModelLoadError(
                f"{file.path}: rope_freqs.weight is {factors.format.name}, not F32"
            )
        values = file.raw(factors).view(np.float32).tolist()
        return {"rope_type": "factors", "factors": values}
    kind = file.metadata.get(prefix + "type", "none")
    factor = file.metadata.get(prefix + "factor")
    if kind == "none" or factor is None:
        return None
    return {
        "rope_type": kind,
        "factor": factor,
        "original_max_position_embeddings": file.metadata.get(prefix + "original_context_length"),
        "beta_fast": file.metadata.get(prefix + "yarn_beta_fast"),
        "beta_slow": file.metadata.get(prefix + "yarn_beta_slow"),
    }


def _eos_token_ids(file: GGUFFile) -> list[int]:
    metadata = file.metadata
    ids = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    tokens: list[str] = metadata.get("tokenizer.ggml.tokens", [])
    special = set(_END_OF_TURN)
    ids += [token_id for token_id, token in enumerate(tokens) if token in special]
    return sorted({token_id for token_id in ids if token_id is not None})
