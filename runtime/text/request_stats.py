"""What the requests of one server cost and got, for /metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..histogram import Histogram
from ..messages import RequestOutput
from .live_request import LiveRequest

LATENCIES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0)
LENGTHS = (1.0, 8.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 32768.0)

STAGES = ("tokenize", "grammar", "queue", "prefill", "decode")


@dataclass(slots=True)
class RequestStats:
    """Totals since the start of the server; a batch or ``n`` counts as so many requests."""

    num_requests: int = 0
    num_so_requests: int = 0  # with a constraint ("structured output")
    num_aborted_requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    finished: Counter[str] = field(default_factory=Counter)  # by reason
    first_token: Histogram = field(default_factory=lambda: Histogram.empty(FIRST_TOKEN))
    between_tokens: Histogram = field(default_factory=lambda: Histogram.empty(BETWEEN_TOKENS))
    latency: Histogram = field(default_factory=lambda: Histogram.empty(LATENCIES))
    queue_time: Histogram = field(default_factory=lambda: Histogram.empty(FIRST_TOKEN))
    prompt_lengths: Histogram = field(default_factory=lambda: Histogram.empty(LENGTHS))
    output_lengths: Histogram = field(default_factory=lambda: Histogram.empty(LENGTHS))
    stages: dict[str, Histogram] = field(
        default_factory=lambda: {stage: Histogram.empty() for stage in STAGES}
    )

    def count_started(self, live: LiveRequest) -> None:
        self.num_requests += 1
        self.num_so_requests += live.request.sampling_params.constraint is not None

    def count_output(self, live: LiveRequest, output: RequestOutput, now: float) -> None:
        """What the scheduler has just said of a live request."""
        new = len(output.token_ids)
        self.generation_tokens += new - output.replaced
        if not new:
            return
        if live.first_token is None:
            live.first_token = now
            self.prompt_tokens += output.prompt_tokens
            self.cached_tokens += output.cached_tokens
            self.first_token.add(now - live.arrived)
        else:
            self.between_tokens.add((now - live.last_token) / new, new)
        live.last_token = now

    def count_ended(self, live: LiveRequest, reason: str) -> None:
        """A request has ended: ``stop``, ``length``, ``abort`` or ``error``."""
        assert live.ended is not None
        self.finished[reason] += 1
        self.num_aborted_requests += reason == "abort"
        self.latency.add(live.ended - live.arrived)
        self.prompt_lengths.add(len(live.request.input_ids))
        for stage, seconds in stages(live).items():
            self.stages[stage].add(seconds)
        if live.times is not None:
            self.queue_time.add(live.times.queue)
            self.output_lengths.add(live.generation.completion_tokens)


def stages(live: LiveRequest) -> dict[str, float]:
    """Seconds in each stage that an ended request has been through."""
    assert live.ended is not None
    seconds = {"tokenize": live.sent - live.arrived}
    times = live.times
    if times is None:
        return seconds
    if live.request.sampling_params.constraint is not None:
        seconds["grammar"] = times.grammar
    seconds["queue"] = times.queue
    if live.first_token is not None:
        waited = times.grammar + times.queue
        seconds["prefill"] = max(live.first_token - live.sent - waited, 0.0)
        seconds["decode"] = live.ended - live.first_token
    return seconds
