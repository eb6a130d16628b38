"""All layers of a decoder in one call, where an implementation offers that.

There is no reference: a model's own loop over its layers, op by op, is what this must agree with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from .linear import Linear


@dataclass(frozen=True, slots=True)
class DecoderLayerWeights:
    """One layer: attention and a gated feed-forward block, each behind a norm.

    Norm weights are float32; those that may be None are norms that not every model has.

    Args:
        attention_norm: [H].
        qkv: [H] -> the query heads, then the key heads, then the value heads.
        q_norm, k_norm: [D], norms of every head before the rotary embedding.
        cos_sin: [max_pos, rot_dim] float32, see ``rotary``.
        window: tokens a query sees, itself included; None for all.
        output: [Hq * D] -> [H].
        post_attention_norm: [H], of the block's output before it joins the residual.
        mlp_norm: [H].
        gate_up: [H] -> I gates, then I ups.
        down: [I] -> [H].
        post_mlp_norm: [H], like post_attention_norm.
    """

    attention_norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    cos_sin: Tensor
    window: int | None
    output: Linear
    post_attention_norm: Tensor | None
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear
    post_mlp_norm: Tensor | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """A whole stack: its layers, the norm behind them, and what all layers have in common."""

    layers: Sequence[DecoderLayerWeights]
    final_norm: Tensor
    eps: float
    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    soft_cap: float | None
    activation: Literal["silu", "gelu_tanh"]


class DecoderStack(Protocol):
    """Runs the tokens of a step through all layers and the last norm.

    Args:
        hidden: [T, H] embeddings of the new tokens.
        positions: [T] int64.
        slots: [T] int64, the KV slot each token's K and V are written to.
        k_caches: of each layer, [num_slots, Hk, D].
        v_caches: like k_caches.
        req_to_token, req_pool_indices, seq_lens, query_start: as ``paged_attention`` takes them.

    Returns:
        [T, H] of hidden's dtype.
    """

    def __call__(
        self,
        hidden: Tensor,
        positions: Tensor,
        slots: Tensor,
        k_caches: Sequence[Tensor],
        v_caches: Sequence[Tensor],
        req_to_token: Tensor,
        req_pool_indices: Tensor,
        seq_lens: Tensor,
        query_start: Tensor,
    ) -> Tensor: ...


class PackDecoder(Protocol):
    """Bind a stack whose linear layers came from the same implementation's ``pack_linear``.

    Returns None if the implementation cannot run such a stack; the caller then runs op by op.
    """

    def __call__(self, weights: DecoderWeights) -> DecoderStack | None: ...
