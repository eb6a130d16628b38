"""Routing and experts against formulas written out per token."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sglang_lang.kernels.ops.moe import reference_experts, reference_route


def test_the_likeliest_experts_come_first_and_ties_by_id() -> None:
    weights, ids = reference_route(torch.tensor([[0.0, 2.0, 1.0, 2.0]]), 3, renormalize=False)
    assert ids.tolist() == [[1, 3, 2]]
    probs = torch.tensor([0.0, 2.0, 1.0, 2.0]).softmax(0)
    torch.testing.assert_close(weights[0], probs[[1, 3, 2]])


def test_renormalized_weights_sum_to_one() -> None:
    weights, _ = reference_route(torch.randn(5, 8), 2, renormalize=True)
    torch.testing.assert_close(weights.sum(1), torch.ones(5))


@pytest.mark.parametrize("tokens", [0, 6])
def test_experts_mix_the_blocks_of_each_token(tokens: int) -> None:
    torch.manual_seed(0)
    x, gate_up, down = torch.randn(tokens, 12), torch.randn(4, 20, 12), torch.randn(4, 12, 10)
    weights, ids = reference_route(torch.randn(tokens, 4), 2, renormalize=True)
    expected = torch.zeros(tokens, 12)
    for token in range(tokens):
        for weight, expert in zip(weights[token], ids[token].tolist(), strict=True):
            gate, up = (gate_up[expert] @ x[token]).chunk(2)
            expected[token] += weight * (down[expert] @ (F.silu(gate) * up))
    torch.testing.assert_close(reference_experts(gate_up, down)(x, weights, ids), expected)
