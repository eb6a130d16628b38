"""How a KV cache holds a head: D numbers of its dtype, or eight bits each.

An int8 cache is [num_slots, Hk, D + SCALE_BYTES]: each head is D whole numbers, and behind them
their scale, a float32 in four bytes. A float8_e4m3fn cache is [num_slots, Hk, D] and has no scale:
three bits of mantissa from 2^-6 to 448, and steps of 2^-9 below; what is larger becomes 448.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import fp8_weight

SCALE_BYTES = 4
FLOAT8 = fp8_weight.DTYPE
_LARGEST = 127


def row_width(head_dim: int, dtype: torch.dtype) -> int:
    """Elements that a cache of this type needs for a head."""
    return head_dim + SCALE_BYTES if dtype is torch.int8 else head_dim


def encode(heads: Tensor, dtype: torch.dtype) -> Tensor:
    """Heads [..., D] as a cache of ``dtype`` holds them: [..., row_width]."""
    if dtype is FLOAT8:
        return fp8_weight.saturate(heads)
    if dtype is not torch.int8:
        return heads.to(dtype)
    numbers = heads.float()
    scales = numbers.abs().amax(dim=-1, keepdim=True) / _LARGEST
    inverse = torch.where(scales > 0, 1.0 / scales, 0.0)
    values = (numbers * inverse).round_().to(torch.int8)
    return torch.cat(
        (values, scales.clone(memory_format=torch.contiguous_format).view(torch.int8)), dim=-1
    )


def decode(rows: Tensor) -> Tensor:
    """Rows of a cache of any type as heads [..., D] float32."""
    if rows.dtype is not torch.int8:
        return rows.float()
    values, scales = rows[..., :-SCALE_BYTES], rows[..., -SCALE_BYTES:]
    return values.float() * scales.contiguous().view(torch.float32)
