"""The gated activation of GeGLU feed-forward layers."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class GeluTanhAndMul(Protocol):
    """gelu(gate) * up, with gelu's tanh form (Shazeer 2020, section 2), computed in float32.

    Args:
        x: [T, 2 * I], each row the gate's I channels, then the up-projection's.

    Returns:
        [T, I] of x's dtype.
    """

    def __call__(self, x: Tensor) -> Tensor: ...


def reference(x: Tensor) -> Tensor:
    gate, up = x.float().chunk(2, dim=-1)
    return (F.gelu(gate, approximate="tanh") * up).to(x.dtype)
