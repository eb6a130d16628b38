"""Batch to StepInput: lays the parts of a step out as rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sglang_lang.radix_cache.memory_pool import ReqToTokenPool

from ..model_executor.sampler import uniform
from ..model_executor.step import IntArray, LogitEdit, SamplingBatch, StepInput
from .batch import Batch, Part
from .req import Req

MINUS_INFINITY = float("-inf")


class StepBuilder:
    """Builds the arrays of a step.

    Args:
        req_pool: the slot table, to look up where each new token's KV goes.
        vocab_size: number of logits.
        eos_token_ids: masked out of a request that has not reached ``min_new_tokens``.
    """

    def __init__(
        self, req_pool: ReqToTokenPool, vocab_size: int, eos_token_ids: frozenset[int]
    ) -> None:
        self._req_pool = req_pool
        self._vocab_size = vocab_size
        self._eos = sorted(eos_token_ids)

    def build(self, batch: Batch) -> StepInput:
        parts = batch.parts
        starts = np.array([part.start for part in parts], dtype=np.int64)
        lengths = np.array([part.length for part in parts], dtype=np.int32)
        pool = np.array([part.req.pool_idx for part in parts], dtype=np.int32)
        row_ends = np.cumsum(lengths)
        total = int(row_ends[-1])
        positions = np.arange(total) + np.repeat(starts - (row_ends - lengths), lengths)
        input_ids = np.zeros(total, dtype=np.int64)
        pending_rows: list[int] = []
        row = 0
        for part in parts:
            end = part.start + part.length
            known = min(end, len(part.req.tokens))
            if known - part.start == 1:
                input_ids[row] = part.req.tokens[part.start]
            elif known > part.start:
                input_ids[row : row + known - part.start] = part.req.tokens[part.start : known]
            row += part.length
            if end > known:
                pending_rows.append(row - 1)
        scored_rows, scored_targets, scored_chosen = self._scored(parts, row_ends - lengths)
        slots = self._req_pool.read_batch(np.repeat(pool, lengths), positions)
        return StepInput(
            input_ids=input_ids,
            pending_rows=np.array(pending_rows, dtype=np.int64),
            positions=positions,
            out_cache_loc=slots.astype(np.int64),
            req_pool_indices=pool,
            seq_lens=(starts + lengths).astype(np.int32),
            extend_lens=lengths,
            sampled_requests=np.array(
                [i for i, part in enumerate(parts) if part.samples], dtype=np.int64
            ),
            scored_rows=scored_rows,
            scored_targets=scored_targets,
            scored_top=max(
                (part.req.request.top_logprobs_num for part in parts if part.num_scored), default=0
            ),
            scored_chosen=scored_chosen,
            sampling=self._sampling(batch.sampling),
        )

    def _scored(
        self, parts: list[Part], first_rows: npt.NDArray[np.int64]
    ) -> tuple[IntArray, IntArray, list[list[int]]]:
        rows: list[int] = []
        targets: list[int] = []
        chosen: list[list[int]] = []
        for part, first_row in zip(parts, first_rows.tolist(), strict=True):
            for position in range(part.score_first, part.score_last + 1):
                rows.append(first_row + position - 1 - part.start)
                targets.append(part.req.tokens[position])
                chosen.append(part.req.request.token_ids_logprob)
        return np.array(rows, dtype=np.int64), np.array(targets, dtype=np.int64), chosen

    def _sampling(self, reqs: list[Req]) -> SamplingBatch:
        batch = SamplingBatch()
        for row, req in enumerate(reqs):
            params = req.params
            greedy = params.is_greedy
            batch.temperatures.append(0.0 if greedy else params.temperature)
            batch.top_ps.append(params.top_p)
            batch.top_ks.append(params.top_k or self._vocab_size)
            batch.min_ps.append(params.min_p)
            batch.uniforms.append(0.0 if greedy else uniform(req.seed, req.output_len))
            batch.top_logprobs.append(
                req.request.top_logprobs_num if req.request.return_logprob else None
            )
            batch.chosen_ids.append(req.request.token_ids_logprob)
            if req.matcher is not None:
                batch.constrained_rows.append(row)
            if params.logit_bias or params.has_penalties or params.min_new_tokens:
                batch.edits.extend(self._edits(row, req))
        return batch

    def _edits(self, row: int, req: Req) -> list[LogitEdit]:
        params = req.params
        edits: list[LogitEdit] = []
        if params.repetition_penalty != 1.0:
            seen = np.unique(np.frombuffer(req.tokens, dtype=np.int32)).astype(np.int64)
            edits.append(LogitEdit(row, seen, 0.0, params.repetition_penalty))
        if params.frequency_penalty or params.presence_penalty:
            output = np.array(req.output_ids, dtype=np.int64)
            seen, counts = np.unique(output, return_counts=True)
            minus = -(params.frequency_penalty * counts + params.presence_penalty)
            edits.append(LogitEdit(row, seen, minus.astype(np.float32)))
        if params.logit_bias:
            ids = np.array(list(params.logit_bias), dtype=np.int64)
            add = np.array(list(params.logit_bias.values()), dtype=np.float32)
            edits.append(LogitEdit(row, ids, add))
        if req.output_len <= params.min_new_tokens and req.matcher is None:
            ends = np.array(self._eos + list(params.stop_token_ids), dtype=np.int64)
            edits.append(LogitEdit(row, ends, MINUS_INFINITY))
        return edits
