"""A mixture of experts: which experts a token goes to, and their feed-forward blocks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from . import silu_and_mul


class RouteExperts(Protocol):
    """The likeliest experts of each token, by the softmax of the router's scores.

    Args:
        scores: [T, E], floating.
        top_k: experts of a token, at most E.
        renormalize: scale the weights of a token's experts so that they sum to one.

    Returns:
        weights [T, top_k] float32, in descending order, and expert ids [T, top_k] int32; of equal
        scores the lower id comes first.
    """

    def __call__(self, scores: Tensor, top_k: int, renormalize: bool) -> tuple[Tensor, Tensor]: ...


class Experts(Protocol):
    """The gated feed-forward blocks (SwiGLU) of all experts."""

    def __call__(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        """The weighted sum of each token's experts.

        Args:
            x: [T, H].
            weights: [T, top_k] float32.
            ids: [T, top_k] int32, distinct within a token.

        Returns:
            [T, H] of x's dtype.
        """
        ...


class PackExperts(Protocol):
    """Take over the experts' weights and return what applies them.

    Args:
        gate_up: [E, 2 * I, H]; rows of the gate, then of the up-projection.
        down: [E, H, I], of the same dtype.
    """

    def __call__(self, gate_up: Tensor, down: Tensor) -> Experts: ...


def reference_route(scores: Tensor, top_k: int, renormalize: bool) -> tuple[Tensor, Tensor]:
    probs, ids = scores.float().softmax(-1).sort(dim=-1, descending=True, stable=True)
    weights = probs[:, :top_k]
    if renormalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights.contiguous(), ids[:, :top_k].int()


class ReferenceExperts:
    """One expert after another, each over the tokens that chose it; sums in float32."""

    def __init__(self, gate_up: Tensor, down: Tensor) -> None:
        self._gate_up = gate_up
        self._down = down

    def __call__(self, x: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
        out = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        for expert, (gate_up, down) in enumerate(zip(self._gate_up, self._down, strict=True)):
            tokens, choices = (ids == expert).nonzero(as_tuple=True)
            inner = silu_and_mul.reference(x[tokens] @ gate_up.t())
            share = weights[tokens, choices].unsqueeze(1)
            out.index_add_(0, tokens, (inner @ down.t()).float() * share)
        return out.to(x.dtype)


def reference_experts(gate_up: Tensor, down: Tensor) -> Experts:
    return ReferenceExperts(gate_up, down)
