"""ModelConfig read from config.json: what differs between families and between spellings."""

from __future__ import annotations

from typing import Any

import pytest

from sglang_lang.runtime.checkpoints.config import ModelConfig
from sglang_lang.runtime.errors import ModelLoadError

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "eos_token_id": 7,
}


def test_head_dim_follows_from_hidden_size_when_not_given() -> None:
    config = ModelConfig.from_hf(LLAMA)
    assert config.head_dim == 8
    assert config.attention_scale == 8**-0.5
    assert ModelConfig.from_hf(LLAMA | {"head_dim": 32}).head_dim == 32


def test_mistral_windows_every_layer() -> None:
    config = ModelConfig.from_hf(LLAMA | {"model_type": "mistral", "sliding_window": 16})
    assert config.family == "llama"
    assert config.windows == (16,) * 4
    without = ModelConfig.from_hf(LLAMA | {"model_type": "mistral", "sliding_window": None})
    assert without.windows == (None,) * 4


def test_qwen2_windows_upper_layers_only_when_asked() -> None:
    qwen = LLAMA | {"model_type": "qwen2", "sliding_window": 16, "max_window_layers": 3}
    assert ModelConfig.from_hf(qwen | {"use_sliding_window": False}).windows == (None,) * 4
    assert ModelConfig.from_hf(qwen | {"use_sliding_window": True}).windows == (
        None,
        None,
        None,
        16,
    )


def test_qwen2_has_biases_on_queries_keys_and_values_alone() -> None:
    config = ModelConfig.from_hf(LLAMA | {"model_type": "qwen2"})
    assert config.qkv_bias and not config.output_bias


@pytest.mark.parametrize(
    "ropes",
    [
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4},
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        },
    ],
    ids=["old spelling", "new spelling"],
)
def test_gemma3_rotates_local_and_global_layers_differently(ropes: dict[str, Any]) -> None:
    gemma = LLAMA | {
        "model_type": "gemma3_text",
        "num_hidden_layers": 6,
        "sliding_window": 32,
        "query_pre_attn_scalar": 16,
        "hidden_activation": "gelu_pytorch_tanh",
    }
    config = ModelConfig.from_hf(gemma | ropes)
    assert config.windows == (32, 32, 32, 32, 32, None)
    assert [rope.theta for rope in config.ropes] == [1e4] * 5 + [1e6]
    assert config.attention_scale == 0.25
    assert config.tie_word_embeddings


def test_rope_scaling_in_both_spellings() -> None:
    scaling = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    old = ModelConfig.from_hf(LLAMA | {"rope_scaling": scaling | {"rope_type": "llama3"}})
    new = ModelConfig.from_hf(
        {key: value for key, value in LLAMA.items() if key != "rope_theta"}
        | {"rope_parameters": scaling | {"rope_type": "llama3", "rope_theta": 500000.0}}
    )
    assert old.ropes == new.ropes
    assert old.ropes[0].kind == "llama3" and old.ropes[0].original_context_len == 256


def test_yarn_extends_the_context() -> None:
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
    assert ModelConfig.from_hf(LLAMA | {"rope_scaling": yarn}).context_len == 2048


def test_generation_config_wins_over_config_for_eos() -> None:
    config = ModelConfig.from_hf(LLAMA, {"eos_token_id": [7, 9], "temperature": 0.6})
    assert config.eos_token_ids == (7, 9)
    assert config.generation.temperature == 0.6
    assert config.generation.top_p is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "unknown architecture 'mamba'"),
        ({"hidden_size": None}, "hidden_size must be an integer between 1 and"),
        (
            {"num_hidden_layers": -1},
            "num_hidden_layers must be an integer between 1 and 10000, got -1",
        ),
        ({"num_key_value_heads": 3}, "no multiple"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ({"rope_scaling": {"type": "magic"}}, "rope_type 'magic' is not supported"),
        ({"torch_dtype": "int8"}, "dtype 'int8'"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 4 layers"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        ModelConfig.from_hf(LLAMA | change)
