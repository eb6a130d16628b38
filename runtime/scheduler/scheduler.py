"""The loop: receive, plan the next step, launch it, take in the last one's tokens, report.

While a step computes, the next one is planned: tokens that are still on the device are stood in
for by placeholders. A grammar's mask is filled once the token before is known, while the step it is
for computes. Only requests whose next step is another one depending on the token (grammars that are
likely to jump forward, penalties) make the loop wait for it before planning.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import Protocol

from sglang_lang.constrained.errors import GrammarError

from ..ipc import SchedulerPort
from ..messages import (
    AbortRequest,
    BatchOutput,
    ControlRequest,
    FinishReason,
    FromScheduler,
    GenerateRequest,
    RequestOutput,
    ToScheduler,
)
from ..model_executor.model_runner import LaunchedStep
from ..model_executor.step import StepInput
from .admin import Admin, RequestsInHand
from .batch import Batch
from .control import Control
from .grammar_queue import GrammarQueue
from .kv_cache import KVCache
from .limits import Limits
from .masks import step_masks
from .metrics import Measured
from .pace import StepPace
from .planner import Planner, Queues, launch_parts
from .req import Req
from .results import ResultProcessor, process
from .served_model import ServedModel
from .stats import SchedulerStats
from .step_builder import StepBuilder
from .stop_checker import StopChecker, TokenBytes

logger = logging.getLogger(__name__)

IDLE_WAIT_MS = 1000
COMPILING_WAIT_MS = 2
ADMIN_WAIT_MS = 20
LOADING_WAIT_MS = 1


class Runner(Protocol):
    """What the scheduler asks of a model runner."""

    def launch(self, step: StepInput) -> LaunchedStep: ...

    def close(self) -> None: ...


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
        served: the model, for an operator who changes it; None where nobody does.
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
        served: ServedModel | None = None,
    ) -> None:
        self._port = port
        self.runner = runner
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
        self._pace = StepPace()
        self._outbox: list[RequestOutput] = []
        self._replies: list[FromScheduler] = []
        self._stopping = False
        requests = RequestsInHand(
            self.queues, grammars, kv, self.stats, self._collect, self._abort, self._retract
        )
        self._admin = Admin(requests, served)
        self._questions = Control(
            Measured(self.queues, kv, planner, grammars, self.stats, limits, self._admin)
        )

    # ------------------------------------------------------------------ the loop

    def run_forever(self) -> None:
        try:
            while not self._stopping:
                self.step()
        finally:
            self._flush()
            self.kv.close(save=self._stopping)
            self.runner.close()
            self._grammars.close()
            self._admin.close()
            self._port.close()

    def step(self) -> None:
        """One turn of the loop."""
        self._receive()
        if self._planner.victims or self._must_know_tokens():
            self._collect()
        self._make_room()
        batch = None if self._admin.holds else self._plan()
        launched = self._launch(batch) if batch is not None else None
        self._collect()
        self._in_flight = launched
        if launched is not None:
            self._pace.begin(launched.launched.future, launched.batch.num_tokens)
            self._give_masks(launched)
            if not self._overlap:
                self._collect()
        self._flush()

    def _must_know_tokens(self) -> bool:
        if self._in_flight is None:
            return False
        parts = self._in_flight.batch.parts
        if any(part.draft or part.req.needs_tokens for part in parts):
            return True
        return self._planner.may_draft([part.req for part in parts])

    def _plan(self) -> Batch | None:
        """The next step; retracts requests if the running ones have outgrown the memory."""
        running = self.queues.running
        if self._in_flight is None:
            self.kv.reclaim_rows()
        parts, budget = self._planner.plan_running(running)
        if not self._planner.grow(parts):
            if self._in_flight is not None:  # finished requests may free enough
                self._collect()
                return self._plan()
            assert len(running) > 1, "a request alone always fits: see Limits"
            self._retract(self._planner.policy.retracts_first(running))
            self._planner.new_token_ratio.after_retraction(running)
            return self._plan()
        if not self._admin.drains:
            parts += self._planner.admit(self.queues, budget)
        if not parts:
            return None
        self._planner.new_token_ratio.decay()
        return launch_parts(parts)

    def _launch(self, batch: Batch) -> InFlight:
        step = self._builder.build(batch)
        launched = self.runner.launch(step)
        launched.future.add_done_callback(lambda _: self._port.wake())
        if self.kv.shares:  # steps run in order, so the next one may already share this one's KV
            for part in batch.parts:
                if part.start < part.req.prompt_len:
                    self.kv.publish(part.req)
        self.stats.count_step(batch, self._results.generated_tokens)
        return InFlight(batch, launched)

    def _give_masks(self, in_flight: InFlight) -> None:
        """Fill the grammars' masks while the step computes; it waits for them before it samples.

        The tokens of the step before are known by now, those of the matchers therefore too.
        """
        bitmask = step_masks(in_flight.batch, self._mask_words)
        if bitmask is not None:
            in_flight.launched.give_bitmask(bitmask)

    def _collect(self) -> None:
        """Wait for the step in flight and give its tokens to their requests."""
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is None:
            return
        result = in_flight.launched.result()
        self._pace.end()
        self.kv.reclaim_rows()  # a step launched by now knows nothing of those who left
        for req in process(self._results, in_flight.batch.parts, result):
            if req.finish is not None:
                self._finish(req)
            else:
                self._report(req)

    # ------------------------------------------------------------------ requests come and go

    def _receive(self) -> None:
        """Take in what has arrived, and what arrives while the step in flight leaves time."""
        while True:
            for message in self._wait():
                if isinstance(message, GenerateRequest):
                    self._add(message)
                elif isinstance(message, AbortRequest):
                    self._abort(message)
                elif isinstance(message, ControlRequest):
                    self._control(message)
                else:
                    self._replies += self._admin.take(message)
            if self._in_flight is None or not self._pace.patience_ms():
                break
        self._replies += self._admin.poll()
        ready, failed = self._grammars.poll()
        for failure in failed:
            constraint = failure.req.params.constraint
            kind = constraint[0] if constraint is not None else None
            self._end(failure.req, FinishReason("abort", None, failure.message, 400, kind))
        for req in ready:
            self._enqueue(req)

    def _wait(self) -> list[ToScheduler]:
        begin = time.monotonic()
        messages = self._port.recv(self._patience_ms())
        if self._in_flight is None:
            self.stats.idle_seconds += time.monotonic() - begin
        return messages

    def _patience_ms(self) -> int:
        """How long the loop may wait for a message: hardly at all while there is work."""
        if self._in_flight is not None:
            return self._pace.patience_ms()
        if self._admin.is_busy:
            return 0 if self.queues.running and not self._admin.holds else ADMIN_WAIT_MS
        if self._admin.holds:
            return IDLE_WAIT_MS
        if self.queues.running:
            return 0
        if self.queues.waiting:
            return LOADING_WAIT_MS if self.kv.is_loading else 0
        return COMPILING_WAIT_MS if len(self._grammars) else IDLE_WAIT_MS

    def _add(self, request: GenerateRequest) -> None:
        params = request.sampling_params
        seed = params.seed if params.seed is not None else self._random.getrandbits(63)
        req = Req(request, seed, self._limits.context_len)
        if problem := self._limits.refusal(req):
            self._end(req, FinishReason("abort", None, problem, 400, "max_new_tokens"))
            return
        if params.stop or params.stop_regex:
            try:
                req.stop_checker = StopChecker(params.stop, params.stop_regex, self._token_bytes)
            except GrammarError as error:
                self._end(
                    req, FinishReason("abort", None, f"stop_regex: {error}", 400, "stop_regex")
                )
                return
        if params.constraint is not None:
            self._grammars.add(req)
        else:
            self._enqueue(req)

    def _enqueue(self, req: Req) -> None:
        if req.matcher is not None:
            req.queued = time.monotonic()
        self._results.start(req)
        if req.finish is not None:  # the grammar forces the whole output
            self._end(req, req.finish)
        else:
            self.queues.waiting.append(req)

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

    def _make_room(self) -> None:
        """Retract the requests that a waiting one of higher priority displaces."""
        victims, self._planner.victims = self._planner.victims, []
        for victim in victims:
            if victim.is_running:
                self._retract(victim)

    def _retract(self, victim: Req) -> None:
        """Send a running request back to the queue, its output kept. No step may be in flight."""
        self.queues.running.remove(victim)
        self.kv.release(victim)
        victim.num_retractions += 1
        self.stats.retractions += 1
        self.queues.waiting.insert(0, victim)
        logger.info("request %s goes back to the queue: its room is needed", victim.rid)

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
        if request.action == "shutdown":
            self._stopping = True
        self._replies.append(self._questions.answer(request))
