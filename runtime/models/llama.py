"""Llama 2 and 3, SmolLM2, Mistral: pre-norm, grouped queries, gated SiLU.

Mistral adds a sliding window, which is in the configuration. Sources: Touvron et al. 2023,
Jiang et al. 2023.
"""

from __future__ import annotations

from sglang_lang.kernels.dispatch import Ops

from ..checkpoints.config import ModelConfig
from ..checkpoints.weights import Weights
from .decoder import Decoder, PreNormLayer
from .parts import Parts


def build(config: ModelConfig, weights: Weights, ops: Ops) -> Decoder:
    parts = Parts(config, weights, ops)

    def make_layer(index: int, layer: Weights) -> PreNormLayer:
        return PreNormLayer(
            attention_norm=parts.norm(layer, "input_layernorm"),
            attention=parts.attention(index, layer.scope("self_attn")),
            mlp_norm=parts.norm(layer, "post_attention_layernorm"),
            mlp=parts.mlp(layer.scope("mlp")),
        )

    return parts.decoder(make_layer)
