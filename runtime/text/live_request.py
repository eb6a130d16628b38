"""A request that the scheduler is working on, as the text side follows it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from .. import request_context
from ..errors import RequestError
from ..messages import GenerateRequest, RequestOutput, RequestTimes
from ..request_context import HttpRequest
from .detokenizer import IncrementalDetokenizer
from .generation import Generation, extend_logprobs


@dataclass(slots=True, eq=False)
class LiveRequest:
    """Its output so far, what has not been read of it, and when things happened.

    What the scheduler says waits in ``inbox`` until the reader asks: a generation never changes
    under a reader that is still busy with it, and one that is slow gets several tokens at once.
    Times are of ``time.perf_counter``.
    """

    request: GenerateRequest
    generation: Generation
    detokenizer: IncrementalDetokenizer
    arrived: float
    http_request: HttpRequest | None = field(default_factory=request_context.current.get)
    sent: float = field(default_factory=time.perf_counter)  # to the scheduler
    first_token: float | None = None
    last_token: float = 0.0
    ended: float | None = None
    times: RequestTimes | None = None
    forced: set[int] = field(default_factory=set)  # places of output tokens that were not sampled
    inbox: list[RequestOutput] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    timer: asyncio.TimerHandle | None = None

    def read(self) -> None:
        """Bring the generation up to date with the inbox."""
        generation = self.generation
        generation.delta = ""
        generation.kept = before = len(generation.output_ids)
        for output in self.inbox:
            if output.replaced:
                del generation.output_ids[-output.replaced :]
                generation.kept = min(generation.kept, len(generation.output_ids))
                self.forced = {place for place in self.forced if place < len(generation.output_ids)}
            self.forced.update(len(generation.output_ids) + place for place in output.forced)
            generation.output_ids += output.token_ids
            generation.delta += self.detokenizer.add(
                output.token_ids, output.replaced, output.finish
            )
            if self.request.return_logprob:
                generation.input_logprobs = extend_logprobs(
                    generation.input_logprobs, output.input_logprobs
                )
                generation.output_logprobs = extend_logprobs(
                    generation.output_logprobs, output.output_logprobs
                )
            generation.prompt_tokens = output.prompt_tokens
            generation.completion_tokens = output.completion_tokens
            generation.cached_tokens = output.cached_tokens
            generation.host_tokens = output.host_tokens
            generation.forced_tokens = output.forced_tokens
            generation.drafted_tokens = output.drafted_tokens
            generation.accepted_tokens = output.accepted_tokens
            generation.num_retractions = output.num_retractions
            generation.warnings = output.warnings
            generation.pooled = output.pooled
            generation.finish = output.finish
        generation.withdrawn = before - generation.kept
        generation.text = self.detokenizer.text
        if generation.finish is not None and self.forced:
            generation.forced_spans = self.detokenizer.char_spans(self.forced)
        self.inbox.clear()

    def output_ids(self) -> list[int]:
        """All output tokens so far, unread ones included."""
        ids = list(self.generation.output_ids)
        for output in self.inbox:
            if output.replaced:
                del ids[-output.replaced :]
            ids += output.token_ids
        return ids

    def time_out_after(self, seconds: float) -> None:
        """Fail with status 408 unless it has ended by then."""
        error = RequestError(
            f"the request took longer than {seconds:g} s", status=408, code="request_timeout"
        )
        self.timer = asyncio.get_running_loop().call_later(seconds, self.fail, error)

    def end(self) -> None:
        self.ended = time.perf_counter()
        self.generation.e2e_latency = self.ended - self.arrived
        if self.timer is not None:
            self.timer.cancel()

    def fail(self, error: Exception) -> None:
        """Its reader gets ``error`` instead of what it has not read yet."""
        self.error = error
        self.changed.set()


class RequestObserver(Protocol):
    """Is told of every request; what it learns it reads from the live request."""

    def started(self, live: LiveRequest) -> None:
        """It goes to the scheduler; called in the context of its client."""
        ...

    def ended(self, live: LiveRequest, reason: str) -> None:
        """``reason``: a finish reason's type, or ``error`` when the scheduler died."""
        ...
