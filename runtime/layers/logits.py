"""From hidden states to the scores of every token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sglang_lang.kernels.ops.linear import Linear


@dataclass(frozen=True, slots=True)
class LogitsHead:
    """The output projection; ``soft_cap`` squashes scores into (-soft_cap, soft_cap)."""

    projection: Linear
    soft_cap: float | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden [R, H] -> logits [R, V] float32, new memory."""
        logits = self.projection(hidden, out_dtype=torch.float32)
        if self.soft_cap is not None:
            logits = torch.tanh_(logits.div_(self.soft_cap)).mul_(self.soft_cap)
        return logits
