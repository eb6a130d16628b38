"""The CPU implementation of the ops that touch each element once."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .library import cache_dtype_code, dtype_code

SILU, GELU_TANH = 0, 1


def dense_rows(x: Tensor) -> Tensor:
    """Return x, or a copy, such that everything behind the first dimension is contiguous."""
    return x if x[:1].is_contiguous() else x.contiguous()


class ElementwiseOps:
    """Norms, rotary embedding, gated activations and the KV store over one loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x = dense_rows(x)
        out = torch.empty(x.shape, dtype=x.dtype)
        self._library.rms_norm(
            dtype_code(x.dtype), dtype_code(weight.dtype), x.data_ptr(), x.stride(0),
            weight.data_ptr(), eps, out.data_ptr(), *x.shape, torch.get_num_threads(),
        )  # fmt: skip
        return out

    def add_rms_norm(
        self, x: Tensor, residual: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        x = dense_rows(x)
        out = torch.empty(x.shape, dtype=x.dtype)
        self._library.add_rms_norm(
            dtype_code(x.dtype), dtype_code(weight.dtype), x.data_ptr(), x.stride(0),
            residual.data_ptr(), residual.stride(0), weight.data_ptr(), eps, out.data_ptr(),
            *x.shape, torch.get_num_threads(),
        )  # fmt: skip
        return out, residual

    def rotary(self, q: Tensor, k: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
        for heads in (q, k):
            self._library.rotary(
                dtype_code(heads.dtype), heads.data_ptr(), heads.stride(0), *heads.shape,
                positions.data_ptr(), cos_sin.data_ptr(), cos_sin.shape[1], torch.get_num_threads(),
            )  # fmt: skip

    def silu_and_mul(self, x: Tensor) -> Tensor:
        return self._gate(SILU, x)

    def gelu_tanh_and_mul(self, x: Tensor) -> Tensor:
        return self._gate(GELU_TANH, x)

    def store_kv(
        self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor
    ) -> None:
        k, v = dense_rows(k), dense_rows(v)
        self._library.store_kv(
            dtype_code(k.dtype), cache_dtype_code(k_cache.dtype), k.data_ptr(), k.stride(0),
            v.data_ptr(), v.stride(0), k_cache.data_ptr(), v_cache.data_ptr(), slots.data_ptr(),
            *k.shape, torch.get_num_threads(),
        )  # fmt: skip

    def _gate(self, activation: int, x: Tensor) -> Tensor:
        x = dense_rows(x)
        rows, width = x.shape[0], x.shape[1] // 2
        out = torch.empty((rows, width), dtype=x.dtype)
        self._library.gated_activation(
            dtype_code(x.dtype), activation, x.data_ptr(), x.stride(0), out.data_ptr(), rows,
            width, torch.get_num_threads(),
        )  # fmt: skip
        return out
