"""Linear layers whose weight is packed once for the device that runs them."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..block_weight import BlockWeight, GGUFWeight
from ..fp8_weight import Fp8Weight, quantize_rows
from ..int8_weight import Int8Weight

Weight: TypeAlias = Tensor | GGUFWeight | BlockWeight | Int8Weight | Fp8Weight


class Linear(Protocol):
    """``x @ weight.T + bias`` with the weight held in the implementation's own layout."""

    in_features: int
    out_features: int

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: [T, in_features].
            out_dtype: of the result; x's if None. Logits ask for float32.

        Returns:
            [T, out_features].
        """
        ...


class PackLinear(Protocol):
    """Take over a weight and return the layer that applies it.

    Args:
        weight: [out_features, in_features]; the layer may keep it or a repacked copy. Quantised
            weights run as they are where the implementation can, with bfloat16 activations;
            those of an ``Fp8Weight`` are rounded to fp8 as well, each token with its own scale.
        bias: [out_features], or None.
    """

    def __call__(self, weight: Weight, bias: Tensor | None) -> Linear: ...


class ReferenceLinear:
    """A linear layer through torch's own matrix product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.out_features, self.in_features = weight.shape
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        out = F.linear(x.to(self._weight.dtype), self._weight, self._bias)
        return out.to(out_dtype or x.dtype)


class ReferenceFp8Linear:
    """fp8 weights and activations, multiplied in float32."""

    def __init__(self, weight: Fp8Weight, bias: Tensor | None) -> None:
        self.out_features, self.in_features = weight.values.shape
        self._weight = weight.dequantize()
        self._bias = None if bias is None else bias.float()

    def __call__(self, x: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
        values, scales = quantize_rows(x)
        rounded = values.float() * scales.unsqueeze(1)
        return F.linear(rounded, self._weight, self._bias).to(out_dtype or x.dtype)


def reference(weight: Weight, bias: Tensor | None) -> Linear:
    if isinstance(weight, Fp8Weight):
        return ReferenceFp8Linear(weight, bias)
    if not isinstance(weight, Tensor):
        weight = weight.dequantize().to(torch.bfloat16)
    return ReferenceLinear(weight, bias)
