"""Token embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sglang_lang.kernels.block_weight import GGUFWeight


@dataclass(frozen=True, slots=True)
class Embedding:
    """Rows of ``weight`` [V, H], times ``scale`` where the model has one (Gemma: sqrt(H)).

    Rows of a quantised weight are dequantised as they are looked up.
    """

    weight: Tensor | GGUFWeight
    dtype: torch.dtype
    scale: float | None = None

    def __call__(self, input_ids: Tensor) -> Tensor:
        """input_ids [T] int64 -> [T, H] of ``dtype``, new memory."""
        if isinstance(self.weight, GGUFWeight):
            hidden = self.weight.rows(input_ids).dequantize().to(self.dtype)
        else:
            hidden = F.embedding(input_ids, self.weight)
        return hidden if self.scale is None else hidden.mul_(self.scale)
