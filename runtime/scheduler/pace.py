"""When to plan the next step: late in the one that computes, for those who arrive meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import Future

from ..model_executor.step import StepResult

PLAN_AT = 0.7  # of the time that the step in flight is expected to take


class StepPace:
    """How long planning may wait while a step computes.

    A request that arrives just after the next step was planned waits for one step more. So the
    next one is not planned as soon as it could be, but as late as it safely can.
    """

    def __init__(self) -> None:
        self._result: Future[StepResult] | None = None
        self._begun = 0.0
        self._num_tokens = 0  # of the step
        self._token_seconds = 0.0  # of the last one
        self._last_seconds = 0.0

    def begin(self, result: Future[StepResult], num_tokens: int) -> None:
        """A step of so many tokens begins to compute."""
        self._result, self._num_tokens = result, num_tokens
        self._begun = time.monotonic()

    def end(self) -> None:
        """The step that began last is done."""
        self._last_seconds = time.monotonic() - self._begun
        self._token_seconds = self._last_seconds / max(self._num_tokens, 1)

    def patience_ms(self) -> int:
        """How much longer planning may wait for the step that began last.

        It will hardly take less than the part of the last one's time that its tokens are.
        """
        if self._result is None or self._result.done():
            return 0
        expected = min(self._last_seconds, self._token_seconds * self._num_tokens)
        return max(0, int(1e3 * (self._begun + PLAN_AT * expected - time.monotonic())))
