"""Runs steps on the model: StepInput in, StepResult out, one after another on a thread of its own.

Knows tensors, KV slots and sampling; knows nothing of requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from sglang_lang.kernels.dispatch import Ops
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool, TokenToKVPool

from ..models.registry import CausalLM
from .forward_batch import ForwardBatch, ForwardMode
from .sampler import Sampler, token_logprobs
from .step import StepInput, StepResult

Bitmask = npt.NDArray[np.int32]


class LaunchedStep:
    """A step on its way. ``result`` waits for it.

    A step with constrained rows computes up to its logits and then waits for ``give_bitmask``,
    so that the masks are filled while the model runs.
    """

    def __init__(self, step: StepInput) -> None:
        self.step = step
        self.future: Future[StepResult] = Future()
        self._bitmask: Bitmask | None = None
        self._bitmask_given = threading.Event()

    def give_bitmask(self, bitmask: Bitmask) -> None:
        """[len(constrained_rows), ceil(V / 32)] int32: the tokens each constrained row allows."""
        self._bitmask = bitmask
        self._bitmask_given.set()

    def wait_for_bitmask(self) -> Bitmask | None:
        if not self.step.sampling.constrained_rows:
            return None
        self._bitmask_given.wait()
        return self._bitmask

    def result(self) -> StepResult:
        return self.future.result()


class ModelRunner:
    """Owns the model, the KV pool and the last sampled token of every request slot.

    Args:
        model: the decoder; None while its memory is released.
        ops: kernels the sampler uses.
        kv_pool: K and V of every slot.
        req_pool: slot table of the running requests.
        device: where the model runs.
    """

    def __init__(
        self,
        model: CausalLM,
        ops: Ops,
        kv_pool: TokenToKVPool,
        req_pool: ReqToTokenPool,
        device: torch.device,
    ) -> None:
        self.model: CausalLM | None = model
        self.kv_pool = kv_pool
        self.req_pool = req_pool
        self.device = device
        self._sampler = Sampler(ops, device)
        self._last_token = torch.zeros(req_pool.size, dtype=torch.int64, device=device)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")
        self._failure: BaseException | None = None

    def launch(self, step: StepInput) -> LaunchedStep:
        """Queue the step behind those launched before; returns at once."""
        launched = LaunchedStep(step)
        self._worker.submit(self._run, launched)
        return launched

    def run_in_order(self, work: Callable[[], None]) -> Future[None]:
        """Queue work on the KV pool behind the steps launched before; its failure fails the next.

        Returns at once; the future is for those who want to wait.
        """
        return self._worker.submit(self._run_work, work)

    def close(self) -> None:
        self._worker.shutdown(wait=True)

    def _run_work(self, work: Callable[[], None]) -> None:
        try:
            with torch.inference_mode():
                work()
        except BaseException as error:
            self._failure = error
            raise

    def _run(self, launched: LaunchedStep) -> None:
        try:
            if self._failure is not None:
                raise self._failure
            with torch.inference_mode():
                launched.future.set_result(self._forward(launched))
        except BaseException as error:  # handed to the thread that waits for the result
            launched.future.set_exception(error)

    def _forward(self, launched: LaunchedStep) -> StepResult:
        step = launched.step
        batch = self._forward_batch(step)
        model = self.model
        assert model is not None, "no step is planned while the weights are released"
        hidden = model.forward(batch)
        logits = model.logits(hidden[batch.logits_rows])
        num_sampled = len(step.sampled_requests)
        sampled, scored = logits[:num_sampled], logits[num_sampled:]
        scored_logprobs = token_logprobs(
            scored,
            self._tensor(step.scored_targets),
            [step.scored_top] * len(step.scored_rows),
            step.scored_chosen,
        )
        wants = [i for i, top in enumerate(step.sampling.top_logprobs) if top is not None]
        raw = sampled[self._tensor(np.array(wants, dtype=np.int64))].clone() if wants else None
        ids = self._sampler.sample(sampled, step.sampling, launched.wait_for_bitmask())
        if num_sampled:
            owners = batch.req_pool_indices[self._tensor(step.sampled_requests)]
            self._last_token[owners.long()] = ids
        pooled = [
            hidden[first:end].sum(dim=0, dtype=torch.float32).numpy(force=True)
            for first, end in step.pooled_rows
        ]
        result = StepResult(ids.tolist(), [None] * num_sampled, scored_logprobs, pooled)
        if raw is not None:
            rows = token_logprobs(
                raw,
                ids[self._tensor(np.array(wants, dtype=np.int64))],
                [step.sampling.top_logprobs[i] or 0 for i in wants],
                [step.sampling.chosen_ids[i] for i in wants],
            )
            for i, row in zip(wants, rows, strict=True):
                result.sampled_logprobs[i] = row
        return result

    def _forward_batch(self, step: StepInput) -> ForwardBatch:
        req_pool_indices = self._tensor(step.req_pool_indices)
        query_start = np.zeros(len(step.extend_lens) + 1, dtype=np.int32)
        np.cumsum(step.extend_lens, out=query_start[1:])
        input_ids = self._tensor(step.input_ids)
        if len(step.pending_rows):
            request_of_row = np.searchsorted(query_start, step.pending_rows, side="right") - 1
            owners = self._tensor(step.req_pool_indices[request_of_row]).long()
            input_ids[self._tensor(step.pending_rows)] = self._last_token[owners]
        max_extend_len = int(step.extend_lens.max())
        return ForwardBatch(
            mode=ForwardMode.DECODE if max_extend_len == 1 else ForwardMode.EXTEND,
            input_ids=input_ids,
            positions=self._tensor(step.positions),
            out_cache_loc=self._tensor(step.out_cache_loc),
            req_pool_indices=req_pool_indices,
            seq_lens=self._tensor(step.seq_lens),
            extend_lens=self._tensor(step.extend_lens),
            query_start=self._tensor(query_start),
            logits_rows=self._tensor(np.concatenate((step.sampled_rows, step.scored_rows))),
            req_to_token=self.req_pool.table,
            kv_pool=self.kv_pool,
            max_extend_len=max_extend_len,
            max_seq_len=int(step.seq_lens.max()),
        )

    def _tensor(self, values: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)
