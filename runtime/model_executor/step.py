"""What the scheduler hands to the model runner for a step, and what it gets back: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


class LogitEdit(NamedTuple):
    """A change of a few logits of one sampled row, applied before the grammar's mask.

    ``logit = logit + add`` where ``scale`` is 1; with a repetition penalty ``scale`` divides
    positive and multiplies negative logits first (Keskar et al., CTRL, section 4.1).
    """

    row: int
    token_ids: IntArray
    add: npt.NDArray[np.float32] | float
    scale: float = 1.0


@dataclass(slots=True)
class SamplingBatch:
    """How each of the R sampled rows draws its token; the lists are parallel.

    ``uniforms[i]`` in [0, 1) decides row i's draw, so that a seed gives the same token in any
    batch. ``top_logprobs[i]`` is None unless row i returns logprobs.
    """

    temperatures: list[float] = field(default_factory=list)  # 0 is greedy
    top_ps: list[float] = field(default_factory=list)
    top_ks: list[int] = field(default_factory=list)  # the vocabulary's size for all
    min_ps: list[float] = field(default_factory=list)
    uniforms: list[float] = field(default_factory=list)
    edits: list[LogitEdit] = field(default_factory=list)
    constrained_rows: list[int] = field(default_factory=list)
    top_logprobs: list[int | None] = field(default_factory=list)
    chosen_ids: list[list[int]] = field(default_factory=list)


@dataclass(slots=True)
class StepInput:
    """One step over B requests, T tokens, R sampled and S scored rows (see ForwardBatch)."""

    input_ids: IntArray  # [T]; rows in pending_rows are filled on the device
    pending_rows: IntArray  # rows whose token is the last one sampled for their request
    positions: IntArray  # [T]
    out_cache_loc: IntArray  # [T]
    req_pool_indices: Int32Array  # [B]
    seq_lens: Int32Array  # [B]
    extend_lens: Int32Array  # [B]
    sampled_rows: IntArray  # [R] rows of the T whose next token is drawn
    sampled_requests: IntArray  # [R] their requests, as indices into the B
    scored_rows: IntArray  # [S] rows of the T whose next token is known and wants a logprob
    scored_targets: IntArray  # [S] that next token
    scored_top: int  # how many likeliest tokens to return for scored rows
    scored_chosen: list[list[int]]  # [S] token ids whose logprob is wanted as well
    pooled_rows: list[tuple[int, int]]  # [P] first row and end of the rows summed for a request
    sampling: SamplingBatch


class TokenLogprob(NamedTuple):
    """Logprob of one token with its likeliest rivals, as (logprob, token id) pairs."""

    value: float
    top: list[tuple[float, int]]
    chosen: list[tuple[float, int]]


@dataclass(slots=True)
class StepResult:
    """``next_ids[i]`` belongs to sampled row i, ``scored[j]`` to scored row j.

    ``pooled[k]`` [H] float32 is the sum of the last hidden states of ``pooled_rows[k]``.
    """

    next_ids: list[int]
    sampled_logprobs: list[TokenLogprob | None]
    scored: list[TokenLogprob]
    pooled: list[npt.NDArray[np.float32]] = field(default_factory=list)
