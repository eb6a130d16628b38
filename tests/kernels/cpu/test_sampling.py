"""Sampling and bitmasks against their references."""

from __future__ import annotations

import math

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sglang_lang.kernels.dispatch import REFERENCE, Ops

few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@few
@given(st.integers(0, 40), st.integers(1, 300), st.booleans())
def test_argmax(ops: Ops, rows: int, vocab: int, ties: bool) -> None:
    torch.manual_seed(rows + vocab)
    logits = torch.randn(rows, vocab)
    logits[torch.rand(rows, vocab) < 0.3] = -math.inf
    if ties:
        logits = logits.round()
    best = logits.max(dim=1, keepdim=True).values if rows else logits
    lowest = (logits == best).int().argmax(dim=1) if rows else torch.empty(0, dtype=torch.int64)
    assert torch.equal(ops.argmax(logits), lowest)


def test_argmax_of_rows_of_a_wider_tensor(ops: Ops) -> None:
    wide = torch.randn(3, 100)
    assert torch.equal(ops.argmax(wide[:, 7:50]), wide[:, 7:50].argmax(dim=1))


@few
@given(
    st.integers(0, 4),
    st.integers(1, 3000),
    st.floats(0.1, 30),
    st.floats(0.05, 3),
    st.data(),
)
def test_sample(
    ops: Ops, rows: int, vocab: int, spread: float, temperature: float, data: st.DataObject
) -> None:
    torch.manual_seed(vocab)
    logits = spread * torch.randn(rows, vocab)
    logits[:, ::3] = logits[:, ::3].round()  # some ties
    logits[torch.rand(rows, vocab) < 0.2] = -math.inf
    logits[:, vocab // 2] = 0.0
    arguments = (
        logits,
        torch.full((rows,), temperature),
        torch.full(
            (rows,), data.draw(st.sampled_from([vocab, 1, min(5, vocab)])), dtype=torch.int32
        ),
        torch.full((rows,), data.draw(st.sampled_from([1.0, 0.9, 0.5, 0.01]))),
        torch.full((rows,), data.draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))),
        torch.rand(rows),
    )
    assert torch.equal(ops.sample(*arguments), REFERENCE.sample(*arguments))


def test_the_ends_of_the_unit_interval(ops: Ops) -> None:
    logits = torch.tensor([[0.0, 2.0, -math.inf, 1.0]]).repeat(2, 1)
    ids = ops.sample(
        logits, torch.ones(2), torch.full((2,), 4).int(), torch.ones(2), torch.zeros(2),
        torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64),
    )  # fmt: skip
    assert ids.tolist() == [1, 0]


def test_equal_logits_are_drawn_in_order_of_ids(ops: Ops) -> None:
    vocab = 1000
    uniforms = (torch.arange(vocab, dtype=torch.float64) + 0.5) / vocab
    ids = ops.sample(
        torch.zeros(vocab, vocab), torch.ones(vocab), torch.full((vocab,), vocab).int(),
        torch.ones(vocab), torch.zeros(vocab), uniforms,
    )  # fmt: skip
    assert torch.equal(ids, torch.arange(vocab))


def test_the_frequencies_are_the_probabilities(ops: Ops) -> None:
    torch.manual_seed(0)
    draws = 20_000
    probs = torch.tensor([0.5, 0.05, 0.3, 0.15])
    ids = ops.sample(
        (probs.log() * 0.7).repeat(draws, 1), torch.full((draws,), 0.7),
        torch.full((draws,), 4).int(), torch.ones(draws), torch.zeros(draws), torch.rand(draws),
    )  # fmt: skip
    frequencies = ids.bincount(minlength=4) / draws
    assert (frequencies - probs).abs().max() < 0.02  # five standard deviations


@few
@given(st.integers(1, 200), st.integers(0, 6))
def test_bitmask(ops: Ops, vocab: int, masked: int) -> None:
    torch.manual_seed(vocab + masked)
    logits = torch.randn(6, vocab)
    bitmask = torch.randint(-(2**31), 2**31, (masked, -(-vocab // 32)), dtype=torch.int32)
    rows = torch.randperm(6)[:masked]
    expected = logits.clone()
    REFERENCE.apply_token_bitmask_inplace(expected, bitmask, rows)
    ops.apply_token_bitmask_inplace(logits, bitmask, rows)
    assert torch.equal(logits, expected)
