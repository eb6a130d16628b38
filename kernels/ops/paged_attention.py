"""Causal attention over a paged KV cache: decode, extend over a prefix, and mixed batches."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from ..cache_format import decode


class PagedAttention(Protocol):
    """Softmax attention of each request's new tokens over all its tokens so far.

    Request b brings the queries of rows ``query_start[b] : query_start[b + 1]``, its last tokens;
    the keys and values of all its ``seq_lens[b]`` tokens, the new ones too, are in the cache.
    Query head h reads KV head ``h // (Hq // Hk)``.

    Args:
        q: [T, Hq, D]; the last two dimensions are dense, tokens may be strided.
        k_cache: [num_slots, Hk, D], q's dtype or another floating one, or of eight
            bits (see cache_format.py).
        v_cache: [num_slots, Hk, D], like k_cache.
        req_to_token: [max_requests, max_context] int32, slot of a request's token at a position.
        req_pool_indices: [B] int32, the requests' rows of ``req_to_token``.
        seq_lens: [B] int32.
        query_start: [B + 1] int32, exclusive prefix sum of the new tokens' counts.
        scale: multiplies the scores.
        window: a query sees this many tokens at most, itself included; None for all.
        soft_cap: scores become ``soft_cap * tanh(score / soft_cap)``; None for no cap.

    Returns:
        [T, Hq, D] of q's dtype.
    """

    def __call__(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        req_to_token: Tensor,
        req_pool_indices: Tensor,
        seq_lens: Tensor,
        query_start: Tensor,
        scale: float,
        window: int | None,
        soft_cap: float | None,
    ) -> Tensor: ...


def reference(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    req_to_token: Tensor,
    req_pool_indices: Tensor,
    seq_lens: Tensor,
    query_start: Tensor,
    scale: float,
    window: int | None,
    soft_cap: float | None,
) -> Tensor:
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    starts = query_start.tolist()
    requests = zip(starts, starts[1:], req_pool_indices.tolist(), seq_lens.tolist(), strict=False)
    for start, end, row, seq_len in requests:
        slots = req_to_token[row, :seq_len].long()
        out[start:end] = _attend(
            q[start:end], decode(k_cache[slots]), decode(v_cache[slots]), scale, window, soft_cap
        )
    return out


def _attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, soft_cap: float | None
) -> Tensor:
    """One request: q [E, Hq, D] are the last of the S tokens of k and v [S, Hk, D] float32."""
    (extend_len, num_heads, head_dim), (seq_len, num_kv_heads, _) = q.shape, k.shape
    group = num_heads // num_kv_heads
    grouped = q.float().view(extend_len, num_kv_heads, group, head_dim)
    scores = torch.einsum("ehgd,shd->hges", grouped, k) * scale
    if soft_cap is not None:
        scores = soft_cap * torch.tanh(scores / soft_cap)
    last = torch.arange(seq_len - extend_len, seq_len, device=q.device).unsqueeze(1)
    key = torch.arange(seq_len, device=q.device)
    hidden = (key > last) | (key <= last - window if window is not None else key < 0)
    probs = scores.masked_fill_(hidden, -math.inf).softmax(-1)
    mixed = torch.einsum("hges,shd->ehgd", probs, v)
    return mixed.reshape(extend_len, num_heads, head_dim).to(q.dtype)
