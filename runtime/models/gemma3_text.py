"""Gemma 3, text only: norms before and after each block, local and global attention layers.

Five of six layers see a sliding window and have a rotary embedding of their own; queries and keys
are normed head by head; embeddings are scaled by sqrt(hidden_size). Source: Gemma Team 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.ops.decoder_stack import DecoderLayerWeights

from ..checkpoints.config import ModelConfig
from ..checkpoints.weights import Weights
from ..layers.attention import Attention
from ..layers.mlp import GatedMLP
from ..layers.norm import RMSNorm
from ..model_executor.forward_batch import ForwardBatch
from .decoder import Decoder, layer_weights
from .parts import Parts

_NORM_OFFSET = 1.0  # norms multiply by 1 + weight


@dataclass(frozen=True, slots=True)
class SandwichNormLayer:
    """A norm before each block and another on what it adds to the residual."""

    attention_norm: RMSNorm
    attention: Attention
    after_attention_norm: RMSNorm
    mlp_norm: RMSNorm
    mlp: GatedMLP
    after_mlp_norm: RMSNorm

    def __call__(
        self, update: Tensor, residual: Tensor, batch: ForwardBatch
    ) -> tuple[Tensor, Tensor]:
        normed, residual = self.attention_norm.add(update, residual)
        attended = self.after_attention_norm(self.attention(normed, batch))
        normed, residual = self.mlp_norm.add(attended, residual)
        return self.after_mlp_norm(self.mlp(normed)), residual

    def weights(self) -> DecoderLayerWeights:
        return layer_weights(
            self.attention_norm,
            self.attention,
            self.mlp_norm,
            self.mlp,
            after_attention_norm=self.after_attention_norm,
            after_mlp_norm=self.after_mlp_norm,
        )


def build(config: ModelConfig, weights: Weights, ops: Ops) -> Decoder:
    parts = Parts(config, weights, ops)
    norm = partial(parts.norm, offset=_NORM_OFFSET)

    def make_layer(index: int, layer: Weights) -> SandwichNormLayer:
        attention = layer.scope("self_attn")
        return SandwichNormLayer(
            attention_norm=norm(layer, "input_layernorm"),
            attention=parts.attention(
                index,
                attention,
                q_norm=norm(attention, "q_norm", size=config.head_dim),
                k_norm=norm(attention, "k_norm", size=config.head_dim),
            ),
            after_attention_norm=norm(layer, "post_attention_layernorm"),
            mlp_norm=norm(layer, "pre_feedforward_layernorm"),
            mlp=parts.mlp(layer.scope("mlp")),
            after_mlp_norm=norm(layer, "post_feedforward_layernorm"),
        )

    # The model was trained with the scale rounded to the dtype of its weights.
    scale = torch.tensor(config.hidden_size**0.5, dtype=weights.dtype).item()
    return parts.decoder(make_layer, embedding_scale=scale, norm_offset=_NORM_OFFSET)
