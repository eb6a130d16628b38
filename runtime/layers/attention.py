"""Multi-head attention with grouped queries over the paged KV cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.ops.linear import Linear

from ..model_executor.forward_batch import ForwardBatch
from .norm import RMSNorm


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention.

    Args:
        ops: rotary embedding, KV store and attention itself.
        layer_idx: its place in the KV pool.
        qkv: [H] -> the query heads, then the key heads, then the value heads.
        output: [num_heads * head_dim] -> [H].
        cos_sin: [max positions, rotary_dim], see ``layers/rotary.py``.
        scale: multiplies the scores.
        window: how many tokens a query sees, itself included; None for all.
        q_norm, k_norm: norms of every head before the rotary embedding, where the model has them.
    """

    ops: Ops
    layer_idx: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    qkv: Linear
    output: Linear
    cos_sin: Tensor
    scale: float
    window: int | None = None
    q_norm: RMSNorm | None = None
    k_norm: RMSNorm | None = None

    def __call__(self, hidden: Tensor, batch: ForwardBatch) -> Tensor:
        """hidden [T, H] -> [T, H]; stores the new tokens' K and V in the batch's pool."""
        heads = self.qkv(hidden).view(len(hidden), -1, self.head_dim)  # [T, Hq + 2 Hk, D]
        sizes = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        q, k, v = torch.split(heads, sizes, dim=1)
        if self.q_norm is not None:
            q = self.q_norm.heads(q)
        if self.k_norm is not None:
            k = self.k_norm.heads(k)
        self.ops.rotary(q, k, batch.positions, self.cos_sin)
        k_cache, v_cache = batch.kv_pool.k[self.layer_idx], batch.kv_pool.v[self.layer_idx]
        self.ops.store_kv(k, v, k_cache, v_cache, batch.out_cache_loc)
        attended = self.ops.paged_attention(
            q,
            k_cache,
            v_cache,
            batch.req_to_token,
            batch.req_pool_indices,
            batch.seq_lens,
            batch.query_start,
            self.scale,
            self.window,
            soft_cap=None,
        )
        return self.output(attended.flatten(1))
