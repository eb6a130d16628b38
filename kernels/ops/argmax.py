"""The likeliest token of each row of logits."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Argmax(Protocol):
    """The index of each row's largest value; of equal ones the lowest.

    Args:
        logits: [B, V] float32, without NaN.

    Returns:
        [B] int64.
    """

    def __call__(self, logits: Tensor) -> Tensor: ...


def reference(logits: Tensor) -> Tensor:
    return logits.argmax(dim=-1)
