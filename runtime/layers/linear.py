"""Linear layers, several of one input merged into one matrix product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.ops.linear import Linear


def merge_linear(
    ops: Ops, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None
) -> Linear:
    """One layer whose output is the outputs of several, side by side.

    Args:
        ops: packs the merged weight.
        weights: [out_i, in] each; one alone is taken as it is.
        biases: [out_i] each, or None.
    """
    weight = torch.cat(list(weights)) if len(weights) > 1 else weights[0]
    bias = torch.cat(list(biases)) if biases else None
    return ops.pack_linear(weight, bias)
