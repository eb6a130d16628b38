"""Weights of eight bits with one scale for each output channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 127


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """A matrix whose row n, column k stands for ``scales[n] * values[n, k]``.

    Args:
        values: [out, in] int8.
        scales: [out] float32.
    """

    values: Tensor
    scales: Tensor

    def dequantize(self) -> Tensor:
        """[out, in] float32."""
        return self.values.float() * self.scales.unsqueeze(1)


def quantize_int8(weight: Tensor) -> Int8Weight:
    """The nearest 8-bit matrix: each row's largest magnitude becomes 127.

    Args:
        weight: [out, in], floating.
    """
    dense = weight.float()
    scales = dense.abs().amax(dim=1) / LARGEST
    steps = torch.where(scales > 0, scales, 1.0).unsqueeze(1)
    return Int8Weight((dense / steps).round_().to(torch.int8), scales)
