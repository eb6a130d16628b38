"""Random two-layer models made by transformers give the same logits here, prefill and decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.runtime.checkpoints.checkpoint import open_checkpoint
from sglang_lang.runtime.models.registry import load_model

from .paged import PagedRunner

COMMON: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # large enough for attention to matter
    "tie_word_embeddings": False,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama, biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama, own head_dim": {"model_type": "llama", "head_dim": 32},
    "llama, llama3 rope": {"model_type": "llama", "rope_parameters": LLAMA3 | {"rope_theta": 1e4}},
    "llama, yarn": {"model_type": "llama", "rope_parameters": YARN | {"rope_theta": 1e4}},
    "llama, linear rope": {
        "model_type": "llama",
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
    },
    "mistral, window": {"model_type": "mistral", "sliding_window": 8},
    "qwen2": {"model_type": "qwen2"},
    "qwen2, window": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 8,
        "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "gemma3": {
        "model_type": "gemma3_text",
        "head_dim": 32,
        "sliding_window": 8,
        "query_pre_attn_scalar": 20,
        "layer_types": ["sliding_attention", "full_attention"],
        "tie_word_embeddings": True,
    },
    "gemma3, soft cap": {
        "model_type": "gemma3_text",
        "head_dim": 32,
        "sliding_window": 8,
        "final_logit_softcapping": 3.0,
        "layer_types": ["full_attention", "sliding_attention"],
    },
}
PROMPTS = ([5, 9, 9, 17, 3, 44, 101, 2, 8, 77, 31, 6, 12, 150, 90], [11, 4, 4, 120])
DECODED = [[7, 8], [100, 3], [15, 9], [21, 140], [0, 1]]


def make_model(settings: dict[str, Any], folder: Path) -> Any:
    """A random model, its norms and biases random too, saved in several shards."""
    torch.manual_seed(0)
    settings = COMMON | settings
    config = AutoConfig.for_model(**settings, attn_implementation="eager")
    auto_model: Any = AutoModelForCausalLM
    model = auto_model.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model.save_pretrained(folder, max_shard_size="60KB")
    return model


@pytest.mark.filterwarnings("ignore:the CPU kernels cannot be built")
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_transformers(name: str, backend: str, tmp_path: Path) -> None:
    reference = make_model(MODELS[name], tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    checkpoint = open_checkpoint(str(tmp_path))
    device = torch.device("cpu")
    model = load_model(checkpoint, load_ops(device, backend), torch.float32, device)
    runner = PagedRunner(model, checkpoint.config, torch.float32, len(PROMPTS))

    logits = runner.extend(PROMPTS)  # two prompts in one batch
    for tokens in DECODED:  # then one token each, five times
        step = runner.extend([[token] for token in tokens])
        logits = [torch.cat(parts) for parts in zip(logits, step, strict=True)]
    for index, prompt in enumerate(PROMPTS):
        text = [*prompt, *(tokens[index] for tokens in DECODED)]
        with torch.inference_mode():
            expected = reference(torch.tensor([text])).logits[0]
        torch.testing.assert_close(logits[index], expected, atol=2e-4, rtol=1e-4)
