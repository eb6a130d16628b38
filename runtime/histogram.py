"""Counts of values in buckets: cheap to add to, and small enough to cross a process border."""

from __future__ import annotations

from bisect import bisect_left
from typing import Self

import msgspec

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram(msgspec.Struct):
    """``counts[i]`` values were at most ``bounds[i]`` (and above the bound before).

    The last of ``counts`` has those above all bounds. Not safe to add to from two threads.
    """

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...] = SECONDS) -> Self:
        """``bounds`` in rising order."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def add(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """(upper bound, values up to it), as Prometheus wants them."""
        names = [*map(str, self.bounds), "+Inf"]
        seen, buckets = 0, []
        for name, count in zip(names, self.counts, strict=True):
            seen += count
            buckets.append((name, seen))
        return buckets
