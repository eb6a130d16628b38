"""What all decoders share: embedding, a stack of layers, a last norm, the logits.

A family (``llama.py``, ``gemma3_text.py``, ...) says what its layers are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sglang_lang.kernels.ops.decoder_stack import DecoderLayerWeights, DecoderStack

from ..layers.attention import Attention
from ..layers.embedding import Embedding
from ..layers.logits import LogitsHead
from ..layers.mlp import GatedMLP
from ..layers.norm import RMSNorm
from ..model_executor.forward_batch import ForwardBatch


class DecoderLayer(Protocol):
    """Attention and feed-forward with their norms.

    The residual stream travels in two parts, so that the next norm adds them in its own pass:
    ``residual`` [T, H], updated in place, and ``update`` [T, H], what the last block computed.
    """

    def __call__(
        self, update: Tensor, residual: Tensor, batch: ForwardBatch
    ) -> tuple[Tensor, Tensor]: ...

    def weights(self) -> DecoderLayerWeights:
        """The same layer as data, for kernels that run the whole stack in one call."""
        ...


@dataclass(frozen=True, slots=True)
class PreNormLayer:
    """The layer of Llama and its kin: a norm before each block."""

    attention_norm: RMSNorm
    attention: Attention
    mlp_norm: RMSNorm
    mlp: GatedMLP

    def __call__(
        self, update: Tensor, residual: Tensor, batch: ForwardBatch
    ) -> tuple[Tensor, Tensor]:
        normed, residual = self.attention_norm.add(update, residual)
        normed, residual = self.mlp_norm.add(self.attention(normed, batch), residual)
        return self.mlp(normed), residual

    def weights(self) -> DecoderLayerWeights:
        return layer_weights(self.attention_norm, self.attention, self.mlp_norm, self.mlp)


def layer_weights(
    attention_norm: RMSNorm,
    attention: Attention,
    mlp_norm: RMSNorm,
    mlp: GatedMLP,
    *,
    after_attention_norm: RMSNorm | None = None,
    after_mlp_norm: RMSNorm | None = None,
) -> DecoderLayerWeights:
    """A layer's parts as the kernels take them."""

    def weight(norm: RMSNorm | None) -> Tensor | None:
        return None if norm is None else norm.weight

    return DecoderLayerWeights(
        attention_norm=attention_norm.weight,
        qkv=attention.qkv,
        q_norm=weight(attention.q_norm),
        k_norm=weight(attention.k_norm),
        cos_sin=attention.cos_sin,
        window=attention.window,
        output=attention.output,
        post_attention_norm=weight(after_attention_norm),
        mlp_norm=mlp_norm.weight,
        gate_up=mlp.gate_up,
        down=mlp.down,
        post_mlp_norm=weight(after_mlp_norm),
    )


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder-only language model.

    ``stack`` runs the layers and the norm in one call; None where the kernels cannot.
    """

    embedding: Embedding
    layers: Sequence[DecoderLayer]
    norm: RMSNorm
    head: LogitsHead
    stack: DecoderStack | None

    def forward(self, batch: ForwardBatch) -> Tensor:
        """The last hidden states [T, H] of the batch's tokens; stores their K and V."""
        residual = self.embedding(batch.input_ids)
        if self.stack is not None:
            return self._run_stack(self.stack, residual, batch)
        update = torch.zeros_like(residual)
        for layer in self.layers:
            update, residual = layer(update, residual, batch)
        return self.norm.add(update, residual)[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [R, H] -> [R, V] float32, new memory."""
        return self.head(hidden)

    @staticmethod
    def _run_stack(stack: DecoderStack, embedded: Tensor, batch: ForwardBatch) -> Tensor:
        return stack(
            embedded,
            batch.positions,
            batch.out_cache_loc,
            batch.kv_pool.k,
            batch.kv_pool.v,
            batch.req_to_token,
            batch.req_pool_indices,
            batch.seq_lens,
            batch.query_start,
        )
