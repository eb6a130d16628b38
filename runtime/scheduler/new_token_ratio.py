"""Learns which part of their output budget requests use, so that memory is not kept idle for it."""

from __future__ import annotations

from collections.abc import Sequence

from .req import Req


class NewTokenRatio:
    """Which part of their token budget running requests are expected to use.

    Starts careful, decays while nothing is retracted, and jumps back when something was.
    """

    DECAY_STEPS = 600

    def __init__(self, conservativeness: float) -> None:
        self._start = min(0.7 * conservativeness, 1.0)
        self._floor = min(0.1 * conservativeness, 1.0)
        self.value = self._start

    def decay(self) -> None:
        self.value = max(self._floor, self.value - (self._start - self._floor) / self.DECAY_STEPS)

    def after_retraction(self, running: Sequence[Req]) -> None:
        """What the remaining requests have shown to use, plus some steps of headroom."""
        used = sum(req.output_len + 20 for req in running)
        budget = sum(req.max_output for req in running) + 1
        self.value = min(1.0, max(self._floor, used / budget))
