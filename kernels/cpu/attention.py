"""The CPU implementation of paged attention."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .elementwise import dense_rows
from .library import AttentionBatch, AttentionLayer, cache_dtype_code, dtype_code


def attention_batch(
    req_to_token: Tensor, req_pool_indices: Tensor, seq_lens: Tensor, query_start: Tensor
) -> AttentionBatch:
    """Describe a step's requests to the library; the tensors must outlive its use."""
    return AttentionBatch(
        req_to_token.data_ptr(), req_to_token.stride(0), req_pool_indices.data_ptr(),
        seq_lens.data_ptr(), query_start.data_ptr(), seq_lens.shape[0],
    )  # fmt: skip


class PagedAttentionOp:
    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

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
    ) -> Tensor:
        q = dense_rows(q)
        _, num_heads, head_dim = q.shape
        out = torch.empty(q.shape, dtype=q.dtype)
        batch = attention_batch(req_to_token, req_pool_indices, seq_lens, query_start)
        layer = AttentionLayer(
            cache_dtype_code(k_cache.dtype), k_cache.data_ptr(), v_cache.data_ptr(), num_heads,
            k_cache.shape[1], head_dim, scale, window or 0, soft_cap or 0.0,
        )  # fmt: skip
        self._library.paged_attention(
            ctypes.byref(batch), ctypes.byref(layer), dtype_code(q.dtype), q.data_ptr(),
            q.stride(0), out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out
