"""Sampling, argmax and bitmasks against their references."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.kernels.dispatch import REFERENCE, Ops

from .examples import few


@few
@given(st.integers(0, 4), st.sampled_from([1, 2, 100, 5000]), st.booleans())
def test_argmax(ops: Ops, rows: int, vocab: int, ties: bool) -> None:
    logits = torch.randn(rows, vocab + 7)[:, 7:]
    logits[torch.rand(rows, vocab) < 0.3] = -math.inf
    if ties:
        logits = logits.round()
    best = logits.amax(dim=1, keepdim=True)
    lowest = (logits == best).int().argmax(dim=1)
    assert torch.equal(ops.argmax(logits), lowest)


@few
@given(
    st.sampled_from([1, 7, 300, 5000]),
    st.floats(0.1, 30),
    st.floats(0.05, 3),
    st.sampled_from([1, 5, 10**9]),
    st.sampled_from([1.0, 0.9, 0.5, 0.01]),
    st.sampled_from([0.0, 0.02, 0.5, 1.0]),
)
def test_sample(
    ops: Ops,
    vocab: int,
    spread: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> None:
    rows = 3
    logits = spread * torch.randn(rows, vocab)
    logits[:, ::3] = logits[:, ::3].round()  # some ties
    logits[torch.rand(rows, vocab) < 0.2] = -math.inf
    logits[:, vocab // 2] = 0.0
    arguments = (
        logits,
        torch.full((rows,), temperature),
        torch.full((rows,), min(top_k, vocab), dtype=torch.int32),
        torch.full((rows,), top_p),
        torch.full((rows,), min_p),
        torch.rand(rows),
    )
    assert torch.equal(ops.sample(*arguments), REFERENCE.sample(*arguments))


def test_rows_have_their_own_filters(ops: Ops) -> None:
    logits = torch.randn(1, 50).repeat(4, 1)
    arguments = (
        logits,
        torch.tensor([1.0, 0.5, 2.0, 1.0]),
        torch.tensor([50, 3, 50, 10], dtype=torch.int32),
        torch.tensor([1.0, 1.0, 0.6, 0.9]),
        torch.tensor([0.0, 0.0, 0.1, 0.05]),
        torch.tensor([0.9, 0.99, 0.99, 0.7]),
    )
    assert torch.equal(ops.sample(*arguments), REFERENCE.sample(*arguments))


def test_the_ends_of_the_unit_interval(ops: Ops) -> None:
    logits = torch.tensor([[0.0, 2.0, -math.inf, 1.0]]).repeat(2, 1)
    ids = ops.sample(
        logits, torch.ones(2), torch.full((2,), 4).int(), torch.ones(2), torch.zeros(2),
        torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64),
    )  # fmt: skip
    assert ids.tolist() == [1, 0]


@pytest.mark.parametrize("top_k", [9, 6])
def test_equal_logits_are_drawn_in_order_of_ids(ops: Ops, top_k: int) -> None:
    vocab = 9
    uniforms = (torch.arange(top_k, dtype=torch.float64) + 0.5) / top_k
    logits = torch.zeros(top_k, vocab)
    logits[:, ::2] = -0.0  # the same number
    ids = ops.sample(
        logits, torch.ones(top_k), torch.full((top_k,), top_k).int(), torch.ones(top_k),
        torch.zeros(top_k), uniforms,
    )  # fmt: skip
    assert torch.equal(ids, torch.arange(top_k))


@few
@given(st.sampled_from([1, 31, 64, 5000]), st.integers(0, 4))
def test_bitmask(ops: Ops, vocab: int, masked: int) -> None:
    logits = torch.randn(4, vocab)
    bitmask = torch.randint(-(2**31), 2**31, (masked, -(-vocab // 32)), dtype=torch.int32)
    rows = torch.randperm(4)[:masked]
    expected = logits.clone()
    REFERENCE.apply_token_bitmask_inplace(expected, bitmask, rows)
    ops.apply_token_bitmask_inplace(logits, bitmask, rows)
    assert torch.equal(logits, expected)
