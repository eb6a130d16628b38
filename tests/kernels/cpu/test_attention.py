"""Paged attention against its reference, and against itself in other batches."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sglang_lang.kernels.cache_format import FLOAT8, encode
from sglang_lang.kernels.dispatch import REFERENCE, Ops

SLOTS, MAX_CONTEXT = 900, 1400
few = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass
class Step:
    """A batch of requests over a random cache; q holds the new tokens of all of them."""

    q: Tensor
    k_cache: Tensor
    v_cache: Tensor
    req_to_token: Tensor
    rows: Tensor
    seq_lens: Tensor
    query_start: Tensor

    def attend(self, ops: Ops, window: int | None = None, soft_cap: float | None = None) -> Tensor:
        return ops.paged_attention(
            self.q, self.k_cache, self.v_cache, self.req_to_token, self.rows, self.seq_lens,
            self.query_start, self.q.shape[-1] ** -0.5, window, soft_cap,
        )  # fmt: skip

    def part(self, request: int, first: int, end: int) -> Step:
        """New tokens [first, end) of one request, as a step of their own."""
        start, stop = self.query_start[request : request + 2].tolist()
        seq_len = int(self.seq_lens[request]) - (stop - start) + end
        return Step(
            self.q[start + first : start + end], self.k_cache, self.v_cache, self.req_to_token,
            self.rows[request : request + 1], torch.tensor([seq_len], dtype=torch.int32),
            torch.tensor([0, end - first], dtype=torch.int32),
        )  # fmt: skip


def make_step(
    lens: list[tuple[int, int]],
    heads: tuple[int, int] = (6, 2),
    head_dim: int = 16,
    dtype: torch.dtype = torch.float32,
    cache_dtype: torch.dtype = torch.float32,
) -> Step:
    """lens: (prefix, new tokens) of each request."""
    torch.manual_seed(len(lens))
    extend_lens = torch.tensor([new for _, new in lens])
    return Step(
        q=torch.randn(int(extend_lens.sum()), heads[0], head_dim).to(dtype),
        k_cache=encode(torch.randn(SLOTS, heads[1], head_dim), cache_dtype),
        v_cache=encode(torch.randn(SLOTS, heads[1], head_dim), cache_dtype),
        req_to_token=torch.randint(0, SLOTS, (len(lens) + 2, MAX_CONTEXT), dtype=torch.int32),
        rows=torch.randperm(len(lens) + 2)[: len(lens)].int(),
        seq_lens=torch.tensor([prefix + new for prefix, new in lens], dtype=torch.int32),
        query_start=torch.cat((torch.zeros(1), extend_lens.cumsum(0))).int(),
    )


def assert_same(actual: Tensor, expected: Tensor, cache_dtype: torch.dtype) -> None:
    assert actual.dtype == expected.dtype
    exact = actual.dtype is cache_dtype is torch.float32  # kernels decode eight bits to bfloat16
    rtol, atol = (1e-4, 5e-6) if exact else (2e-2, 1e-2)
    torch.testing.assert_close(actual.float(), expected.float(), rtol=rtol, atol=atol)


request_lens = st.tuples(st.integers(0, 600), st.sampled_from([1, 1, 1, 2, 17, 70]))
dtypes = st.sampled_from([torch.float32, torch.bfloat16])
cache_dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.int8, FLOAT8])


@few
@given(
    st.lists(request_lens, min_size=1, max_size=5),
    st.sampled_from([(1, 1), (6, 2), (7, 7), (8, 1), (60, 1)]),
    st.sampled_from([2, 10, 16, 31, 32, 64, 80]),
    dtypes,
    cache_dtypes,
    st.one_of(st.none(), st.integers(1, 300)),
    st.sampled_from([None, 2.0]),
)
def test_any_batch(
    ops: Ops,
    lens: list[tuple[int, int]],
    heads: tuple[int, int],
    head_dim: int,
    dtype: torch.dtype,
    cache_dtype: torch.dtype,
    window: int | None,
    soft_cap: float | None,
) -> None:
    step = make_step(lens, heads, head_dim, dtype, cache_dtype)
    expected = step.attend(REFERENCE, window, soft_cap)
    assert_same(step.attend(ops, window, soft_cap), expected, cache_dtype)


def test_an_empty_batch(ops: Ops) -> None:
    assert make_step([]).attend(ops).shape == (0, 6, 16)


def test_a_request_without_new_tokens_is_passed_over(ops: Ops) -> None:
    step = make_step([(5, 1), (7, 0), (0, 3)])
    assert_same(step.attend(ops), step.attend(REFERENCE), torch.float32)


def test_q_may_be_a_view_of_a_wider_tensor(ops: Ops) -> None:
    step = make_step([(5, 3)])
    expected = step.attend(REFERENCE)
    step.q = torch.cat((step.q, step.q), dim=1)[:, :6]
    assert not step.q.is_contiguous()
    assert_same(step.attend(ops), expected, torch.float32)


def test_large_scores_do_not_overflow(ops: Ops) -> None:
    step = make_step([(40, 2)])
    step.q *= 1000
    assert_same(step.attend(ops), step.attend(REFERENCE), torch.float32)


def test_batch_mates_and_chunks_change_no_bit(ops: Ops) -> None:
    lens = [(700, 1), (0, 200), (1300, 1), (30, 5)]
    for window in (None, 150):
        step = make_step(lens)
        whole = step.attend(ops, window)
        for request, (_, new) in enumerate(lens):
            start = int(step.query_start[request])
            for first in range(0, new, 7):
                end = min(first + 7, new)
                alone = step.part(request, first, end).attend(ops, window)
                assert torch.equal(alone, whole[start + first : start + end])


def share_slots(step: Step, requests: list[int], tokens: int) -> None:
    """Let some requests keep their first tokens in the slots of the first of them."""
    table, rows = step.req_to_token, step.rows.long()
    table[rows[requests], :tokens] = table[rows[requests[0]], :tokens].clone()


@pytest.mark.parametrize("window", [None, 150, 700])
@pytest.mark.parametrize("cache_dtype", [torch.float32, torch.bfloat16])
def test_a_shared_prefix_changes_no_bit(
    ops: Ops, window: int | None, cache_dtype: torch.dtype
) -> None:
    lens = [(700, 1), (900, 3), (1300, 1), (30, 5), (650, 20), (1100, 1), (1200, 1), (300, 1)]
    step = make_step([*lens, *[(1000, 1)] * 4], cache_dtype=cache_dtype)
    share_slots(step, [0, 1, 2, 4], 600)  # some share two splits,
    share_slots(step, [5, 6, 7], 299)  # some one,
    share_slots(step, [8, 9, 10], 1000)  # and some their whole prefix
    whole = step.attend(ops, window)
    assert_same(whole, step.attend(REFERENCE, window), cache_dtype)
    for request in range(len(step.seq_lens)):
        start, end = step.query_start[request : request + 2].tolist()
        alone = step.part(request, 0, end - start).attend(ops, window)
        assert torch.equal(alone, whole[start:end])
