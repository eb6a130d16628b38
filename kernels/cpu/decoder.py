"""The CPU implementation of the decoder stack: csrc/decoder.cpp runs all layers in one call."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from ..ops.decoder_stack import DecoderLayerWeights, DecoderStack, DecoderWeights
from .attention import attention_batch
from .elementwise import GELU_TANH, SILU
from .library import DecoderLayer, DecoderStep, cache_dtype_code, dtype_code
from .library import DecoderStack as StackDescription
from .linear import GROUP_BYTES, PANEL, PackedLinear

ACTIVATIONS = {"silu": SILU, "gelu_tanh": GELU_TANH}


class PackedDecoder:
    """A decoder stack bound to the memory of its weights."""

    def __init__(self, library: ctypes.CDLL, weights: DecoderWeights) -> None:
        self._library = library
        self._weights = weights  # keeps the memory that the descriptions point to
        first = weights.layers[0]
        layers = [_describe_layer(layer) for layer in weights.layers]
        self._layers = (DecoderLayer * len(layers))(*layers)
        self._description = StackDescription(
            dtype_code(_dtype(first)), ACTIVATIONS[weights.activation], len(layers),
            ctypes.addressof(self._layers), weights.final_norm.data_ptr(), weights.eps,
            weights.scale, weights.soft_cap or 0.0, first.qkv.in_features, first.down.in_features,
            weights.num_heads, weights.num_kv_heads, weights.head_dim,
        )  # fmt: skip
        self._caches = _CachePointers((), ())

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
    ) -> Tensor:
        if not self._caches.are_of(k_caches, v_caches):
            self._caches = _CachePointers(k_caches, v_caches)
            self._put_on_huge_pages(k_caches, v_caches)
        out = torch.empty_like(hidden)
        batch = attention_batch(req_to_token, req_pool_indices, seq_lens, query_start)
        step = DecoderStep(
            hidden.shape[0], hidden.data_ptr(), positions.data_ptr(), slots.data_ptr(),
            cache_dtype_code(k_caches[0].dtype), ctypes.addressof(self._caches.k),
            ctypes.addressof(self._caches.v), ctypes.addressof(batch), out.data_ptr(),
        )  # fmt: skip
        self._library.decode_stack(
            ctypes.byref(self._description), ctypes.byref(step), torch.get_num_threads()
        )
        return out

    def _put_on_huge_pages(self, *caches: Sequence[Tensor]) -> None:
        """Keys are read at twice the speed from there; the pool is hardly touched as yet."""
        for cache in chain(*caches):
            self._library.advise_huge_pages(cache.data_ptr(), cache.nbytes)


class _CachePointers:
    """The addresses of all layers' caches, looked up once for the lists that every step passes."""

    def __init__(self, k_caches: Sequence[Tensor], v_caches: Sequence[Tensor]) -> None:
        self._owners = (k_caches, v_caches)
        self.k = (ctypes.c_void_p * len(k_caches))(*(cache.data_ptr() for cache in k_caches))
        self.v = (ctypes.c_void_p * len(v_caches))(*(cache.data_ptr() for cache in v_caches))

    def are_of(self, k_caches: Sequence[Tensor], v_caches: Sequence[Tensor]) -> bool:
        return self._owners[0] is k_caches and self._owners[1] is v_caches


class DecoderPacker:
    """``pack_decoder`` over one loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __call__(self, weights: DecoderWeights) -> DecoderStack | None:
        return PackedDecoder(self._library, weights) if _can_run(weights) else None


def _can_run(weights: DecoderWeights) -> bool:
    """Rows of all widths must be whole groups, and the gates' panels must not mix with the ups'."""
    first = weights.layers[0]
    row_bytes = _dtype(first).itemsize * first.qkv.in_features
    head_bytes = _dtype(first).itemsize * weights.head_dim
    return (row_bytes | head_bytes) % GROUP_BYTES == 0 and first.down.in_features % PANEL == 0


def _dtype(layer: DecoderLayerWeights) -> torch.dtype:
    return _packed(layer.qkv).dtype


def _packed(linear: object) -> PackedLinear:
    if not isinstance(linear, PackedLinear):
        raise TypeError(f"pack_decoder takes layers of the CPU's pack_linear, not {type(linear)}")
    return linear


def _describe_layer(layer: DecoderLayerWeights) -> DecoderLayer:
    linears = (layer.qkv, layer.output, layer.gate_up, layer.down)
    norms = (
        layer.attention_norm, layer.q_norm, layer.k_norm, layer.post_attention_norm,
        layer.mlp_norm, layer.post_mlp_norm,
    )  # fmt: skip
    return DecoderLayer(
        *(_packed(linear).handle for linear in linears),
        *(None if norm is None else norm.data_ptr() for norm in norms),
        layer.cos_sin.data_ptr(), layer.cos_sin.shape[1], layer.window or 0,
    )  # fmt: skip
