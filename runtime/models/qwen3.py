"""Qwen3: Llama's layer with a norm on every query and key head (Yang et al. 2025)."""

from __future__ import annotations

from sglang_lang.kernels.dispatch import Ops

from ..checkpoints.config import ModelConfig
from ..checkpoints.weights import Weights
from .decoder import Decoder, PreNormLayer
from .parts import Parts


def build(config: ModelConfig, weights: Weights, ops: Ops) -> Decoder:
    parts = Parts(config, weights, ops)

    def make_layer(index: int, layer: Weights) -> PreNormLayer:
        attention = layer.scope("self_attn")
        return PreNormLayer(
            attention_norm=parts.norm(layer, "input_layernorm"),
            attention=parts.attention(
                index,
                attention,
                q_norm=parts.norm(attention, "q_norm", size=config.head_dim),
                k_norm=parts.norm(attention, "k_norm", size=config.head_dim),
            ),
            mlp_norm=parts.norm(layer, "post_attention_layernorm"),
            mlp=parts.mlp(layer.scope("mlp")),
        )

    return parts.decoder(make_layer)
