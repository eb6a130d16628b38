"""The loop: receive, plan the next step, launch it, take in the last one's tokens, report.

While a step computes, the next one is planned: tokens that are still on the device are stood in
for by placeholders. Requests whose next step depends on the token itself (grammars with their
jumps and masks, penalties) make the loop wait for it before planning; their masks are then filled
while the step runs.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sglang_lang.constrained.errors import GrammarError

from ..ipc import SchedulerPort
from ..messages import (
    AbortRequest,
    BatchOutput,
    ControlReply,
    ControlRequest,
    FinishReason,
    FromScheduler,
    GenerateRequest,
    RequestOutput,
)
from ..model_executor.model_runner import LaunchedStep
from ..model_executor.step import StepInput
from .batch import Batch
from .grammar_queue import GrammarQueue
from .kv_cache import KVCache
from .planner import Planner, Queues, launch_parts
from .req import Req
from .results import ResultProcessor, process
from .stats import SchedulerStats
from .step_builder import StepBuilder
from .stop_checker import StopChecker, TokenBytes

logger = logging.getLogger(__name__)

IDLE_WAIT_MS = 1000
COMPILING_WAIT_MS = 2
LOADING_WAIT_MS = 1


class Runner(Protocol):
    """What the scheduler asks of a model runner."""

    def launch(self, step: StepInput) -> LaunchedStep: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Limits:
    """What no single request may exceed, in tokens."""

    context_len: int  # prompt plus output
    max_total_tokens: int  # KV slots


@dataclass(slots=True)
class InFlight:
    batch: Batch
    launched: LaunchedStep


class Scheduler:
    """Runs requests in continuous batches until it is told to shut down.

    The parts do the work (see their files); this class owns the queues and the order of events.

    Args:
        port: where messages come from and go to.
        runner: runs the steps.
        kv: slots of the requests and the prefix cache.
        planner: chooses the parts of each step.
        builder: lays them out as arrays.
        results: what the sampled tokens mean.
        grammars: compiles constraints.
        token_bytes: the text of a token id, for stop strings.
        limits: what a single request may ask for.
        vocab_size: number of logits.
        overlap: plan a step while the one before computes.
        random_seed: seeds the requests that bring no seed of their own.
    """

    def __init__(  # noqa: PLR0913  (every part is handed in)
        self,
        *,
        port: SchedulerPort,
        runner: Runner,
        kv: KVCache,
        planner: Planner,
        builder: StepBuilder,
        results: ResultProcessor,
        grammars: GrammarQueue,
        token_bytes: TokenBytes,
        limits: Limits,
        vocab_size: int,
        overlap: bool,
        random_seed: int | None,
    ) -> None:
        self._port = port
        self._runner = runner
        self.kv = kv
        self._planner = planner
        self._builder = builder
        self._results = results
        self._grammars = grammars
        self._token_bytes = token_bytes
        self._limits = limits
        self._mask_words = -(-vocab_size // 32)
        self._overlap = overlap
        self._random = random.Random(random_seed)
        self.queues = Queues(waiting=[], running=[])
        self.stats = SchedulerStats()
        self._in_flight: InFlight | None = None
        self._outbox: list[RequestOutput] = []
        self._replies: list[FromScheduler] = []
        self._stopping = False

    # ------------------------------------------------------------------ the loop

    def run_forever(self) -> None:
        try:
            while not self._stopping:
                self.step()
        finally:
            self._flush()
            self.kv.close(save=self._stopping)
            self._runner.close()
            self._grammars.close()
            self._port.close()

    def step(self) -> None:
        """One turn of the loop."""
        self._receive()
        if self._must_know_tokens():
            self._collect()
        batch = self._plan()
        launched = self._launch(batch) if batch is not None else None
        self._collect()
        self._in_flight = launched
        if launched is not None and not self._overlap:
            self._collect()
        self._flush()

    def _must_know_tokens(self) -> bool:
        in_flight = self._in_flight
        return in_flight is not None and any(p.req.needs_tokens for p in in_flight.batch.parts)

    def _plan(self) -> Batch | None:
        """The next step; retracts requests if the running ones have outgrown the memory."""
        running = self.queues.running
        parts, budget = self._planner.plan_running(running)
        if not self._planner.grow(parts):
            if self._in_flight is not None:  # finished requests may free enough
                self._collect()
                return self._plan()
            self._retract_one()
            return self._plan()
        parts += self._planner.admit(self.queues, budget)
        if not parts:
            return None
        self._planner.new_token_ratio.decay()
        return launch_parts(parts)

    def _launch(self, batch: Batch) -> InFlight:
        step = self._builder.build(batch)
        launched = self._runner.launch(step)
        if step.sampling.constrained_rows:
            matchers = [req.matcher for req in batch.sampling if req.matcher is not None]
            bitmask = np.zeros((len(matchers), self._mask_words), dtype=np.int32)
            for row, matcher in enumerate(matchers):
                matcher.fill_next_token_bitmask(bitmask, row)
            launched.give_bitmask(bitmask)
        self.stats.count_step(batch)
        return InFlight(batch, launched)

    def _collect(self) -> None:
        """Wait for the step in flight and give its tokens to their requests."""
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is None:
            return
        result = in_flight.launched.result()
        for req in process(self._results, in_flight.batch.parts, result):
            if req.finish is not None:
                self._finish(req)
                continue
            self._report(req)
        if self.kv.shares:
            for part in in_flight.batch.parts:
                if part.req.is_running and part.start < part.req.prompt_len:
                    self.kv.publish(part.req)

    # ------------------------------------------------------------------ requests come and go

    def _receive(self) -> None:
        for message in self._port.recv(self._patience_ms()):
            if isinstance(message, GenerateRequest):
                self._add(message)
            elif isinstance(message, AbortRequest):
                self._abort(message)
            else:
                self._control(message)
        ready, failed = self._grammars.poll()
        for failure in failed:
            self._end(failure.req, FinishReason("abort", None, failure.message, 400))
        for req in ready:
            self._enqueue(req)

    def _patience_ms(self) -> int:
        """How long the loop may wait for a message: not at all while there is work."""
        if self._in_flight is not None or self.queues.running:
            return 0
        if self.queues.waiting:
            return LOADING_WAIT_MS if self.kv.is_loading else 0
        return COMPILING_WAIT_MS if len(self._grammars) else IDLE_WAIT_MS

    def _add(self, request: GenerateRequest) -> None:
        params = request.sampling_params
        seed = params.seed if params.seed is not None else self._random.getrandbits(63)
        req = Req(request, seed, self._limits.context_len)
        if problem := self._never_fits(req):
            self._end(req, FinishReason("abort", None, problem, 400))
            return
        if params.stop or params.stop_regex:
            try:
                req.stop_checker = StopChecker(params.stop, params.stop_regex, self._token_bytes)
            except GrammarError as error:
                self._end(req, FinishReason("abort", None, f"stop_regex: {error}", 400))
                return
        if params.constraint is not None:
            self._grammars.add(req)
        else:
            self._enqueue(req)

    def _enqueue(self, req: Req) -> None:
        self._results.start(req)
        if req.finish is not None:  # the grammar forces the whole output
            self._end(req, req.finish)
        else:
            self.queues.waiting.append(req)

    def _never_fits(self, req: Req) -> str | None:
        limits = self._limits
        if not req.prompt_len:
            return "the prompt is empty: input_ids must hold at least one token"
        if req.prompt_len > limits.context_len or (
            req.prompt_len == limits.context_len and not req.prefill_only
        ):
            return (
                f"the prompt has {req.prompt_len} tokens, and prompt and output together may "
                f"have {limits.context_len}: shorten input_ids or raise --context-length"
            )
        most = req.prompt_len + req.max_output
        if most > limits.max_total_tokens:
            return (
                f"prompt ({req.prompt_len}) and max_new_tokens ({req.max_output}) need {most} KV "
                f"slots of {limits.max_total_tokens}: lower max_new_tokens, or raise "
                "--max-total-tokens"
            )
        return None

    def _abort(self, message: AbortRequest) -> None:
        aborted = self._grammars.remove(message.names)
        aborted += [req for req in self.queues.waiting if message.names(req.rid)]
        aborted += [req for req in self.queues.running if message.names(req.rid)]
        for req in aborted:
            self._end(req, FinishReason("abort", None, "the request was aborted", 499))

    def _end(self, req: Req, reason: FinishReason) -> None:
        """End a request at any time; a step it is part of goes on without it."""
        req.finish = reason
        req.pending = 0
        self._finish(req)

    def _finish(self, req: Req) -> None:
        """Free what the finished request holds and tell its client."""
        if req.is_running:
            self.queues.running.remove(req)
            self.kv.release(req)
        elif req in self.queues.waiting:
            self.queues.waiting.remove(req)
        self.stats.count_finished(req)
        self._report(req)

    def _retract_one(self) -> None:
        """Send the running request with the least output back to the queue, output kept."""
        running = self.queues.running
        assert len(running) > 1, "a request alone always fits: see _never_fits"
        victim = min(running, key=lambda req: (req.output_len, -req.prompt_len))
        running.remove(victim)
        self.kv.release(victim)
        victim.num_retractions += 1
        self.stats.retractions += 1
        self.queues.waiting.insert(0, victim)
        self._planner.new_token_ratio.after_retraction(running)
        logger.info("KV cache is full: request %s goes back to the queue", victim.rid)

    # ------------------------------------------------------------------ messages

    def _report(self, req: Req) -> None:
        output = self._results.report(req)
        if output is not None:
            self._outbox.append(output)

    def _flush(self) -> None:
        messages = self._replies
        if self._outbox:
            messages = [BatchOutput(self._outbox), *messages]
        if messages:
            self._port.send(messages)
            self._outbox, self._replies = [], []

    def _control(self, request: ControlRequest) -> None:
        ok, message = True, ""
        data: dict[str, object] = {}
        match request.action:
            case "flush_cache":
                ok, message = self._flush_cache()
            case "shutdown":
                self._stopping = True
            case "stats":
                data = self.snapshot()
            case "radix_tree":
                data = self.kv.tree(request.most_nodes)
            case "pin_prefix":
                pinned = self.kv.pin(request.input_ids, request.extra_key)
                ok, data = pinned is not None, {"pinned_tokens": pinned}
            case "unpin_prefix":
                ok = self.kv.prefix_cache.unpin(request.input_ids, request.extra_key)
        self._replies.append(ControlReply(id=request.id, ok=ok, message=message, data=data))

    def _flush_cache(self) -> tuple[bool, str]:
        if self.queues.running or self.queues.waiting or len(self._grammars):
            return False, "requests are running: the cache can only be flushed when none is"
        self._collect()
        self.kv.reset()
        return True, ""

    def snapshot(self) -> dict[str, object]:
        """The numbers behind /server_info and /metrics."""
        cache = self.kv.prefix_cache
        return {
            "num_running_reqs": len(self.queues.running),
            "num_queue_reqs": len(self.queues.waiting),
            "num_grammar_queue_reqs": len(self._grammars),
            "max_total_num_tokens": self._limits.max_total_tokens,
            "num_used_tokens": self._limits.max_total_tokens
            - self.kv.allocator.available()
            - cache.evictable_size,
            "num_free_slots": self.kv.allocator.available(),
            "num_cached_tokens": cache.total_size,
            "new_token_ratio": self._planner.new_token_ratio.value,
            "num_pinned_tokens": cache.pinned_size,
            **self.kv.counters(),
            **self.stats.snapshot(),
        }
