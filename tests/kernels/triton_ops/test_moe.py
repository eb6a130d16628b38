"""Routing and grouped experts against their references."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.kernels.dispatch import REFERENCE, Ops

from .examples import assert_same, dtypes, few


@few
@given(st.integers(0, 9), st.sampled_from([(1, 1), (4, 2), (60, 8)]), st.booleans(), st.booleans())
def test_route(
    ops: Ops, tokens: int, sizes: tuple[int, int], renormalize: bool, ties: bool
) -> None:
    num_experts, top_k = sizes
    scores = torch.randn(tokens, num_experts)
    scores = scores.round() if ties else scores
    weights, ids = ops.route_experts(scores, top_k, renormalize)
    expected_weights, expected_ids = REFERENCE.route_experts(scores, top_k, renormalize)
    assert torch.equal(ids, expected_ids)
    assert_same(weights, expected_weights)


@few
@given(
    st.sampled_from([0, 1, 5, 40]),
    st.sampled_from([(1, 1), (5, 2), (20, 4)]),
    st.sampled_from([(32, 48), (80, 100)]),
    dtypes,
)
def test_experts(
    ops: Ops, tokens: int, sizes: tuple[int, int], widths: tuple[int, int], dtype: torch.dtype
) -> None:
    (num_experts, top_k), (hidden, inner) = sizes, widths
    x = torch.randn(tokens, hidden).to(dtype)
    gate_up = (torch.randn(num_experts, 2 * inner, hidden) / hidden**0.5).to(dtype)
    down = (torch.randn(num_experts, hidden, inner) / inner**0.5).to(dtype)
    weights, ids = REFERENCE.route_experts(torch.randn(tokens, num_experts), top_k, True)
    expected = REFERENCE.pack_experts(gate_up, down)(x, weights, ids)
    assert_same(ops.pack_experts(gate_up, down)(x, weights, ids), expected)


def test_experts_nobody_chose_are_passed_over(ops: Ops) -> None:
    x, gate_up, down = torch.randn(3, 16), torch.randn(4, 32, 16) / 4, torch.randn(4, 16, 16) / 4
    weights, ids = torch.ones(3, 1), torch.full((3, 1), 2, dtype=torch.int32)
    expected = REFERENCE.pack_experts(gate_up, down)(x, weights, ids)
    assert_same(ops.pack_experts(gate_up, down)(x, weights, ids), expected)
