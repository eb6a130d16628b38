"""Linear layers, several of one input merged into one matrix product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sglang_lang.kernels.block_weight import BlockWeight, GGUFWeight, StoredWeight, merge
from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.ops.linear import Linear


def merge_linear(
    ops: Ops, weights: Sequence[Tensor | StoredWeight], biases: Sequence[Tensor] | None = None
) -> Linear:
    """One layer whose output is the outputs of several, side by side.

    Args:
        ops: packs the merged weight.
        weights: [out_i, in] each; one alone is taken as it is. Quantised ones stay so if all are
            of one format, else they all become bfloat16, which is what quantised layers work in.
        biases: [out_i] each, or None.
    """
    bias = torch.cat(list(biases)) if biases else None
    return ops.pack_linear(_merge(weights), bias)


def _merge(weights: Sequence[Tensor | StoredWeight]) -> Tensor | StoredWeight:
    if len(weights) == 1:
        return weights[0]
    quantized = [weight for weight in weights if isinstance(weight, (GGUFWeight, BlockWeight))]
    if len(quantized) == len(weights):
        merged = merge(quantized)
        if merged is not None:
            return merged
    return torch.cat(
        [
            weight if isinstance(weight, Tensor) else weight.dequantize().bfloat16()
            for weight in weights
        ]
    )
