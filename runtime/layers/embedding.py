"""Token embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Embedding:
    """Rows of ``weight`` [V, H], times ``scale`` where the model has one (Gemma: sqrt(H))."""

    weight: Tensor
    scale: float | None = None

    def __call__(self, input_ids: Tensor) -> Tensor:
        """input_ids [T] int64 -> [T, H], new memory."""
        hidden = F.embedding(input_ids, self.weight)
        return hidden if self.scale is None else hidden.mul_(self.scale)
