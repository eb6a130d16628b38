"""Draw one token a row from filtered, temperature-scaled logits, with a given random number."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Sample(Protocol):
    """Sample by the inverse of the cumulative distribution, so that a number fixes the token.

    The filters run in this order, each over the probabilities that the one before it left,
    renormalised: softmax of logits / temperature; the ``top_k`` likeliest tokens; the smallest set
    of likeliest tokens that holds ``top_p`` of the mass (nucleus sampling, Holtzman et al. 2019,
    section 3.1); tokens of at least ``min_p`` times the likeliest one's probability. The kept
    tokens in descending probability, ties by lower id first, split [0, 1); the token whose interval
    holds the row's uniform number is drawn. A row's result does not depend on the other rows.

    Args:
        logits: [B, V] float32; -inf marks tokens that cannot be drawn; each row has a finite one.
        temperatures: [B] float32, above 0.
        top_ks: [B] int32, 1 to V (V keeps all).
        top_ps: [B] float32, above 0, at most 1 (1 keeps all).
        min_ps: [B] float32 in [0, 1] (0 keeps all).
        uniforms: [B] float32 or float64 in [0, 1).

    Returns:
        [B] int64 token ids.
    """

    def __call__(
        self,
        logits: Tensor,
        temperatures: Tensor,
        top_ks: Tensor,
        top_ps: Tensor,
        min_ps: Tensor,
        uniforms: Tensor,
    ) -> Tensor: ...


def reference(
    logits: Tensor,
    temperatures: Tensor,
    top_ks: Tensor,
    top_ps: Tensor,
    min_ps: Tensor,
    uniforms: Tensor,
) -> Tensor:
    scaled = logits.double() / temperatures.double().unsqueeze(1)
    probs, ids = scaled.softmax(-1).sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(logits.shape[1], device=logits.device)
    probs = probs.masked_fill(ranks >= top_ks.unsqueeze(1), 0.0)
    mass_before = probs.cumsum(-1) - probs
    nucleus = top_ps.double().unsqueeze(1) * probs.sum(-1, keepdim=True)
    probs = probs.masked_fill((mass_before >= nucleus) & (ranks > 0), 0.0)
    probs = probs.masked_fill(probs < min_ps.double().unsqueeze(1) * probs[:, :1], 0.0)
    cumulative = probs.cumsum(-1)
    target = uniforms.double().unsqueeze(1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True)
    last_kept = (probs > 0).sum(-1, keepdim=True) - 1
    return ids.gather(1, torch.minimum(drawn, last_kept)).squeeze(1)
