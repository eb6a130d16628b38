"""Matrices of eight floating bits (e4m3) with one scale for each row.

A weight has them from its checkpoint or from ``quantize_fp8``; the activations that meet it get
theirs as they come (W8A8, dynamic): one scale a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DTYPE = torch.float8_e4m3fn
LARGEST = 448.0  # torch's cast makes NaN of what is larger


@dataclass(frozen=True, slots=True)
class Fp8Weight:
    """A matrix whose row n, column k stands for ``scales[n] * values[n, k]``.

    Args:
        values: [out, in] float8_e4m3fn.
        scales: [out] float32.
    """

    values: Tensor
    scales: Tensor

    def dequantize(self) -> Tensor:
        """[out, in] float32."""
        return self.values.float() * self.scales.unsqueeze(1)


def saturate(numbers: Tensor) -> Tensor:
    """float8_e4m3fn nearest to each number; beyond the largest, the largest."""
    return numbers.float().clamp(-LARGEST, LARGEST).to(DTYPE)


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's largest magnitude becomes the largest of the type.

    Args:
        rows: [R, K], floating.

    Returns:
        values [R, K] float8_e4m3fn, and scales [R] float32.
    """
    dense = rows.float()
    scales = dense.abs().amax(dim=1) / LARGEST
    steps = torch.where(scales > 0, scales, 1.0).unsqueeze(1)
    return saturate(dense / steps), scales


def quantize_fp8(weight: Tensor) -> Fp8Weight:
    """The nearest matrix of this kind to weight [out, in], floating."""
    return Fp8Weight(*quantize_rows(weight))
