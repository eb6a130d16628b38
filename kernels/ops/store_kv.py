"""Write the keys and values of new tokens into their slots of the KV cache."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..cache_format import encode


class StoreKV(Protocol):
    """``k_cache[slots] = k`` and ``v_cache[slots] = v``.

    Args:
        k: [T, Hk, D]; the last two dimensions are dense, tokens may be strided.
        v: [T, Hk, D], like k.
        k_cache: [num_slots, Hk, D], updated in place, of any floating dtype, or of
            eight bits as cache_format.py says.
        v_cache: [num_slots, Hk, D], like k_cache.
        slots: [T] int64, distinct.
    """

    def __call__(
        self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor
    ) -> None: ...


def reference(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
    k_cache[slots] = encode(k, k_cache.dtype)
    v_cache[slots] = encode(v, v_cache.dtype)
