"""In which order waiting requests are admitted, and which of them wait for one another's prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .kv_cache import KVCache
from .req import Req

MATCHED_AT_ONCE = 256  # waiting requests whose prefix is looked up in one step
SHARED_PREFIX_MIN = 32  # tokens worth waiting for another request to fill them
MAX_PASSED_OVER = 64  # steps after which a passed-over request goes first


class Candidate(NamedTuple):
    req: Req
    cached_len: int


class SchedulePolicy:
    """Orders the head of the waiting queue.

    ``fcfs``: as they came. ``lpm``: longest cached prefix first, which is depth-first order of
    the prefix tree and so optimal for the hit rate (Zheng et al., SGLang, theorem 3.1); requests
    passed over too often go first, so that none starves.
    """

    def __init__(self, name: str, kv: KVCache) -> None:
        self._longest_prefix_first = name == "lpm"
        self._kv = kv

    def candidates(self, waiting: Sequence[Req]) -> list[Candidate]:
        head = [Candidate(req, self._kv.cached_len(req)) for req in waiting[:MATCHED_AT_ONCE]]
        if self._longest_prefix_first:
            head.sort(key=lambda c: (c.req.passed_over < MAX_PASSED_OVER, -c.cached_len))
        return head


def fills_prefix_of(filling: Sequence[Req], candidate: Candidate) -> bool:
    """Whether a request that is still computing its prompt will soon offer a longer prefix.

    Admitting the candidate now would compute the shared tokens twice.
    """
    req = candidate.req
    worth = candidate.cached_len + SHARED_PREFIX_MIN
    usable = req.longest_usable_prefix
    if usable < worth:
        return False
    mine = np.frombuffer(req.tokens, dtype=np.int32)
    for other in filling:
        if other.request.extra_key != req.request.extra_key or other.prompt_len < worth:
            continue
        theirs = np.frombuffer(other.tokens, dtype=np.int32)
        reach = min(usable, other.prompt_len)
        # A mismatch before ``worth`` is the common case and cheap to see.
        if np.array_equal(mine[:worth], theirs[:worth]) and reach >= worth:
            return True
    return False


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
