"""RMSNorm: scale each row to unit root mean square, then by a learned weight."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class RmsNorm(Protocol):
    """Root mean square norm (Zhang and Sennrich 2019, eq. 4), computed in float32.

    Args:
        x: [T, H], float32, bfloat16 or float16; rows may be strided.
        weight: [H], of x's dtype or float32.
        eps: added to the mean square.

    Returns:
        [T, H] of x's dtype.
    """

    def __call__(self, x: Tensor, weight: Tensor, eps: float) -> Tensor: ...


def reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (normed * weight.float()).to(x.dtype)
