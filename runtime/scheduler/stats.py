"""Counters of the scheduler, for /server_info, /metrics and the log."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

from .batch import Batch
from .req import Req

RATE_WINDOW_SECONDS = 5.0


@dataclass(slots=True)
class SchedulerStats:
    """Totals since the start; ``gen_throughput`` over the last seconds in which steps ran.

    ``generated_tokens`` are told as they come, ``output_tokens`` once their request has ended.
    """

    steps: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    output_tokens: int = 0
    forced_tokens: int = 0
    drafts: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    finished_requests: int = 0
    aborted_requests: int = 0
    retractions: int = 0
    idle_seconds: float = 0.0
    gen_throughput: float = 0.0
    _window_start: float = field(default_factory=time.monotonic)
    _window_first: int = 0

    def count_step(self, batch: Batch, generated_tokens: int) -> None:
        parts = batch.parts
        prefill = sum([part.length for part in parts if part.start < part.req.prompt_len])
        self.steps += 1
        self.prefill_tokens += prefill
        self.decode_tokens += batch.num_tokens - prefill
        self.generated_tokens = generated_tokens
        now = time.monotonic()
        elapsed = now - self._window_start
        if elapsed >= RATE_WINDOW_SECONDS:
            self.gen_throughput = (generated_tokens - self._window_first) / elapsed
            self._window_start, self._window_first = now, generated_tokens

    @property
    def recent_throughput(self) -> float:
        """``gen_throughput``, 0 once steps have stopped."""
        idle = time.monotonic() - self._window_start > 2 * RATE_WINDOW_SECONDS
        return 0.0 if idle else self.gen_throughput

    def count_finished(self, req: Req) -> None:
        if req.finish is not None and req.finish.type == "abort":
            self.aborted_requests += 1
        else:
            self.finished_requests += 1
        self.prompt_tokens += req.prompt_len
        self.cached_tokens += req.cached_tokens
        self.output_tokens += req.output_len
        self.forced_tokens += req.forced_tokens
        self.drafts += req.num_drafts
        self.drafted_tokens += req.drafted_tokens
        self.accepted_tokens += req.accepted_tokens

    @property
    def spec_accept_rate(self) -> float:
        """Share of the drafted tokens that came true; 0 before the first draft."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    @property
    def spec_accept_length(self) -> float:
        """Tokens that a step with a draft yields, the one it samples included; 0 before it."""
        return 1 + self.accepted_tokens / self.drafts if self.drafts else 0.0

    def snapshot(self) -> dict[str, object]:
        return {name: v for name, v in asdict(self).items() if not name.startswith("_")}
