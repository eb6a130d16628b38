"""RMSNorm with its weight."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sglang_lang.kernels.dispatch import Ops


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """Root mean square norm; ``weight`` [H] is float32 whatever the model's dtype."""

    ops: Ops
    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Norm the rows of x [T, H]."""
        return self.ops.rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Add x [T, H] to the residual in place; returns its norm and the residual."""
        return self.ops.add_rms_norm(x, residual, self.weight, self.eps)

    def heads(self, x: Tensor) -> Tensor:
        """Norm every head of x [T, heads, D] by itself; H is D here."""
        return self.ops.rms_norm(x.reshape(-1, x.shape[-1]), self.weight, self.eps).view(x.shape)
