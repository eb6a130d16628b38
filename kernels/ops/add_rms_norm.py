"""The residual sum and the RMSNorm that follows it, in one pass."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from . import rms_norm


class AddRmsNorm(Protocol):
    """``residual += x``, then the RMSNorm of the sum.

    Args:
        x: [T, H], float32, bfloat16 or float16.
        residual: [T, H] of x's dtype, updated in place.
        weight: [H], of x's dtype or float32.
        eps: added to the mean square.

    Returns:
        The normed sum [T, H], and the residual that was passed in.
    """

    def __call__(
        self, x: Tensor, residual: Tensor, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]: ...


def reference(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    residual.add_(x)
    return rms_norm.reference(residual, weight, eps), residual
