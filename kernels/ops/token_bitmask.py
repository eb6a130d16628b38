"""Forbid tokens by a bitmask: the logits of disallowed tokens become -inf."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

BITS_PER_WORD = 32


class ApplyTokenBitmaskInplace(Protocol):
    """Set ``logits[rows[i], t]`` to -inf wherever ``bitmask[i]`` does not allow token t.

    Args:
        logits: [B, V] float32, updated in place.
        bitmask: [R, ceil(V / 32)] int32; bit j of word w stands for token 32 * w + j, 1 allows it.
        rows: [R] int64, the row of logits each row of the bitmask is for.
    """

    def __call__(self, logits: Tensor, bitmask: Tensor, rows: Tensor) -> None: ...


def reference(logits: Tensor, bitmask: Tensor, rows: Tensor) -> None:
    bits = torch.arange(BITS_PER_WORD, dtype=torch.int32, device=bitmask.device)
    allowed = (bitmask.unsqueeze(-1) >> bits) & 1  # [R, words, 32]
    allowed = allowed.flatten(1)[:, : logits.shape[1]].bool()
    logits[rows] = logits[rows].masked_fill(~allowed, -math.inf)
