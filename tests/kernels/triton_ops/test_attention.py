"""Paged attention, decode and extend, against its reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sglang_lang.kernels.cache_format import encode
from sglang_lang.kernels.dispatch import REFERENCE, Ops

from .examples import assert_same, dtypes, few

SLOTS, MAX_CONTEXT = 300, 700


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


def make_step(
    lens: list[tuple[int, int]],
    heads: tuple[int, int] = (6, 2),
    head_dim: int = 16,
    dtype: torch.dtype = torch.float32,
    cache_dtype: torch.dtype = torch.float32,
) -> Step:
    """lens: (prefix, new tokens) of each request."""
    extend_lens = torch.tensor([new for _, new in lens], dtype=torch.int64)
    merged = torch.randn(int(extend_lens.sum()), heads[0] + 1, head_dim).to(dtype)
    return Step(
        q=merged[:, : heads[0]],
        k_cache=encode(torch.randn(SLOTS, heads[1], head_dim), cache_dtype),
        v_cache=encode(torch.randn(SLOTS, heads[1], head_dim), cache_dtype),
        req_to_token=torch.randint(0, SLOTS, (len(lens) + 2, MAX_CONTEXT), dtype=torch.int32),
        rows=torch.randperm(len(lens) + 2)[: len(lens)].int(),
        seq_lens=torch.tensor([prefix + new for prefix, new in lens], dtype=torch.int32),
        query_start=torch.cat((torch.zeros(1), extend_lens.cumsum(0))).int(),
    )


heads = st.sampled_from([(1, 1), (9, 3), (8, 1), (4, 4), (60, 1), (70, 1)])
head_dims = st.sampled_from([8, 16, 20, 64])
cache_dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int8])
windows = st.one_of(st.none(), st.integers(1, 300))
soft_caps = st.sampled_from([None, 2.0])


@few
@given(
    st.lists(st.integers(0, 600), min_size=1, max_size=3),
    heads, head_dims, dtypes, cache_dtypes, windows, soft_caps,
)  # fmt: skip
def test_decode(
    ops: Ops,
    prefixes: list[int],
    heads: tuple[int, int],
    head_dim: int,
    dtype: torch.dtype,
    cache_dtype: torch.dtype,
    window: int | None,
    soft_cap: float | None,
) -> None:
    step = make_step([(prefix, 1) for prefix in prefixes], heads, head_dim, dtype, cache_dtype)
    assert_same(step.attend(ops, window, soft_cap), step.attend(REFERENCE, window, soft_cap))


@few
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), min_size=1, max_size=3),
    heads, head_dims, dtypes, cache_dtypes, windows, soft_caps,
)  # fmt: skip
def test_extend(
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
    assert_same(step.attend(ops, window, soft_cap), step.attend(REFERENCE, window, soft_cap))


@pytest.mark.parametrize("lens", [[(5, 2), (7, 0)], [(3, 0), (9, 0), (0, 3)]])
def test_as_many_tokens_as_requests_that_are_not_one_each(
    ops: Ops, lens: list[tuple[int, int]]
) -> None:
    step = make_step(lens)
    assert_same(step.attend(ops), step.attend(REFERENCE))


def test_an_empty_batch(ops: Ops) -> None:
    assert make_step([]).attend(ops).shape == (0, 6, 16)


@pytest.mark.parametrize("new", [1, 2])
def test_large_scores_do_not_overflow(ops: Ops, new: int) -> None:
    step = make_step([(40, new)])
    step = replace(step, q=step.q * 1000)
    assert_same(step.attend(ops), step.attend(REFERENCE))
    assert_same(step.attend(ops, None, 30.0), step.attend(REFERENCE, None, 30.0))


def test_an_int8_cache_whose_scales_are_not_aligned_is_refused(ops: Ops) -> None:
    with pytest.raises(ValueError, match="multiple of 4, not 10"):
        make_step([(3, 1)], head_dim=10, cache_dtype=torch.int8).attend(ops)
