"""Rotary position embedding of queries and keys, in place."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Rotary(Protocol):
    """Rotate the first ``rot_dim`` channels of every head (RoFormer, Su et al. 2021, section 3.2).

    NeoX pairing: channel i turns with channel i + rot_dim / 2. The rest of the head is left alone.

    Args:
        q: [T, Hq, D], updated in place; the last two dimensions are dense.
        k: [T, Hk, D], updated in place, of q's dtype.
        positions: [T] int64.
        cos_sin: [max_pos, rot_dim] float32: row p holds the cosines of position p, then its sines.
    """

    def __call__(self, q: Tensor, k: Tensor, positions: Tensor, cos_sin: Tensor) -> None: ...


def reference(q: Tensor, k: Tensor, positions: Tensor, cos_sin: Tensor) -> None:
    half = cos_sin.shape[1] // 2
    cos, sin = cos_sin[positions].unsqueeze(1).chunk(2, dim=-1)  # [T, 1, half] each
    for heads in (q, k):
        first = heads[..., :half].float()
        second = heads[..., half : 2 * half].float()
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
        heads[..., : 2 * half] = rotated.to(heads.dtype)
