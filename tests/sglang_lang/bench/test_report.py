"""Numbers of a benchmark against ones worked out by hand, and by numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.bench.client import Sample
from sglang_lang.bench.load import Run
from sglang_lang.bench.report import percentile, summarise


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)))


def test_a_run_comes_to_its_rates() -> None:
    good = Sample(5, 10, first_token=0.1, latency=0.5, gaps=[0.1, 0.3])
    slow = Sample(3, 20, first_token=1.0, latency=2.0, gaps=[0.5, 0.5])
    failed = Sample(error="503")
    summary = summarise(Run([good, slow, failed], 2.0), {"ttft": 200.0})
    assert (summary["completed"], summary["failed"]) == (2, 1)
    assert summary["output_throughput"] == 4.0
    assert summary["total_throughput"] == 19.0
    assert summary["request_throughput"] == 1.0
    assert summary["goodput"] == 0.5
    assert summary["concurrency"] == 1.25
    assert summary["mean_ttft_ms"] == pytest.approx(550)
    assert summary["median_tpot_ms"] == pytest.approx(300)
    assert summary["median_itl_ms"] == pytest.approx(400)


def test_nothing_done_is_no_division_by_zero() -> None:
    assert summarise(Run([Sample(error="x")], 1.0), {})["median_ttft_ms"] == 0.0
