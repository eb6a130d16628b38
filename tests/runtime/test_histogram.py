"""Buckets hold what lies under their bounds, and the histogram survives the wire."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.runtime.histogram import Histogram


@given(st.lists(st.floats(0, 10), max_size=30))
def test_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    histogram = Histogram.empty((0.5, 1.0, 5.0))
    for value in values:
        histogram.add(value)
    for bound, count in histogram.cumulative():
        assert count == sum(value <= float(bound) for value in values)
    assert histogram.count == len(values)
    assert abs(histogram.total - sum(values)) < 1e-6
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(histogram), type=Histogram) == histogram


def test_equal_values_are_added_at_once() -> None:
    histogram = Histogram.empty((1.0,))
    histogram.add(2.0, 3)
    assert (histogram.counts, histogram.total) == ([0, 3], 6.0)
