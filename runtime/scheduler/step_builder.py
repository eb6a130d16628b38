"""Batch to StepInput: lays the parts of a step out as rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sglang_lang.radix_cache.memory_pool import ReqToTokenPool

from ..model_executor.sampler import uniform
from ..model_executor.step import LogitEdit, SamplingBatch, StepInput
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
        self._rows = _SampledRows([], vocab_size)  # of the last step

    def build(self, batch: Batch) -> StepInput:
        parts = batch.parts
        starts = np.array([part.start for part in parts], dtype=np.int64)
        lengths = np.array([part.length for part in parts], dtype=np.int32)
        drafts = [len(part.draft) for part in parts]
        known = np.array([len(part.req.tokens) for part in parts], dtype=np.int64) + drafts
        pool = np.array([part.req.pool_idx for part in parts], dtype=np.int32)
        ends = starts + lengths
        row_ends = np.cumsum(lengths, dtype=np.int64)
        first_rows = row_ends - lengths
        total = int(row_ends[-1])
        positions = np.arange(total) + np.repeat(starts - first_rows, lengths)
        input_ids = np.zeros(total, dtype=np.int64)
        for i in np.flatnonzero(known > starts).tolist():
            part, row = parts[i], first_rows[i]
            end = part.start + part.length - len(part.draft)
            tokens = [*part.req.tokens[part.start : end], *part.draft]
            input_ids[row : row + len(tokens)] = tokens
        slots = self._req_pool.read_batch(np.repeat(pool, lengths), positions)
        scored = self._scored(parts, first_rows)
        num_sampled = [part.num_sampled for part in parts]
        sampled_requests = np.repeat(np.arange(len(parts)), num_sampled)
        ahead = _count_up(num_sampled)
        last = np.repeat(row_ends - num_sampled, num_sampled)
        return StepInput(
            input_ids=input_ids,
            pending_rows=(row_ends - 1)[ends > known],
            positions=positions,
            out_cache_loc=slots.astype(np.int64),
            req_pool_indices=pool,
            seq_lens=ends.astype(np.int32),
            extend_lens=lengths,
            sampled_rows=last + ahead,
            sampled_requests=sampled_requests,
            scored_rows=np.array(scored.rows, dtype=np.int64),
            scored_targets=np.array(scored.targets, dtype=np.int64),
            scored_top=scored.top,
            scored_chosen=scored.chosen,
            pooled_rows=[
                (int(first_rows[i]) + part.pool_from - part.start, int(row_ends[i]))
                for i, part in enumerate(parts)
                if part.pool_from is not None
            ],
            sampling=self._sampling(batch.sampling, ahead.tolist()),
        )

    def _scored(self, parts: list[Part], first_rows: npt.NDArray[np.int64]) -> _Scored:
        scored = _Scored()
        for i, part in enumerate(parts):
            if part.score_first > part.score_last:
                continue
            request = part.req.request
            scored.top = max(scored.top, request.top_logprobs_num)
            first_row = int(first_rows[i])
            for position in range(part.score_first, part.score_last + 1):
                scored.rows.append(first_row + position - 1 - part.start)
                scored.targets.append(part.req.tokens[position])
                scored.chosen.append(request.token_ids_logprob)
        return scored

    def _sampling(self, reqs: list[Req], ahead: list[int]) -> SamplingBatch:
        """How the rows draw; what depends on the requests alone is kept while they stay.

        ``ahead``: drafted tokens between what a request has and what the row draws.
        """
        if reqs != self._rows.reqs:
            self._rows = _SampledRows(reqs, self._vocab_size)
        rows = self._rows
        uniforms = [0.0] * len(reqs)
        for row in rows.drawn:
            uniforms[row] = uniform(reqs[row].seed, reqs[row].output_len + ahead[row])
        edits = [edit for row in rows.edited for edit in self._edits(row, reqs[row], ahead[row])]
        return replace(rows.batch, uniforms=uniforms, edits=edits)

    def _edits(self, row: int, req: Req, ahead: int) -> list[LogitEdit]:
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
        if req.output_len + ahead <= params.min_new_tokens and req.matcher is None:
            ends = np.array(self._eos + list(params.stop_token_ids), dtype=np.int64)
            edits.append(LogitEdit(row, ends, MINUS_INFINITY))
        return edits


def _count_up(lengths: list[int]) -> npt.NDArray[np.int64]:
    """0 .. length - 1 of each length, one after another."""
    counts = np.array(lengths, dtype=np.int64)
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


@dataclass(slots=True)
class _Scored:
    """The rows whose next token is known and wants a logprob; see StepInput."""

    rows: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    top: int = 0
    chosen: list[list[int]] = field(default_factory=list)


class _SampledRows:
    """The part of a ``SamplingBatch`` that is the same in every step with the same requests.

    ``drawn`` rows need a random number in each step, ``edited`` ones changes of their logits.
    """

    def __init__(self, reqs: list[Req], vocab_size: int) -> None:
        self.reqs = reqs
        self.drawn: list[int] = []
        self.edited: list[int] = []
        self.batch = batch = SamplingBatch()
        for row, req in enumerate(reqs):
            params = req.params
            if not params.is_greedy:
                self.drawn.append(row)
            if params.logit_bias or params.has_penalties or params.min_new_tokens:
                self.edited.append(row)
            if req.matcher is not None:
                batch.constrained_rows.append(row)
            batch.temperatures.append(0.0 if params.is_greedy else params.temperature)
            batch.top_ps.append(params.top_p)
            batch.top_ks.append(params.top_k or vocab_size)
            batch.min_ps.append(params.min_p)
            wants_logprobs = req.request.return_logprob
            batch.top_logprobs.append(req.request.top_logprobs_num if wants_logprobs else None)
            batch.chosen_ids.append(req.request.token_ids_logprob)
