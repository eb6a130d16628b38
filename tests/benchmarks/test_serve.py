"""The comparison table of the benchmark: medians, and ratios that mean "times faster"."""

from __future__ import annotations

from benchmarks.serve import table


def test_ratios_say_how_many_times_faster_the_first_server_is() -> None:
    results = {
        "ours": {"single": [90.0, 100.0, 110.0], "chat": [2.0]},
        "peer": {"single": [50.0], "chat": [5.0]},
    }
    lines = table(results).splitlines()
    assert lines[0] == "| work | ours | peer |"
    assert lines[2:] == [
        "| single, output tok/s | 100 (90 to 110) | 50 (2.00x) |",
        "| chat, s | 2 (2 to 2) | 5 (2.50x) |",
    ]


def test_a_work_that_a_peer_cannot_do_stays_empty() -> None:
    results = {"ours": {"json": [1.0]}, "transformers": {"single": [20.0]}}
    assert table(results).splitlines()[2:] == ["| json, s | 1 (1 to 1) |  |"]
