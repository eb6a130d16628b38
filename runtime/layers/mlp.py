"""The gated feed-forward block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sglang_lang.kernels.ops.linear import Linear


@dataclass(frozen=True, slots=True)
class GatedMLP:
    """``down(act(gate(x)) * up(x))`` (Shazeer 2020); ``gate_up`` is both in one product.

    ``act_and_mul`` maps [T, 2 I] to [T, I]: ``silu_and_mul`` or ``gelu_tanh_and_mul``.
    """

    gate_up: Linear
    down: Linear
    act_and_mul: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(self.act_and_mul(self.gate_up(x)))
