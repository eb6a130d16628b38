"""What a benchmark's numbers come to: a table for people, JSON, and a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..extras import needs
from .client import Sample
from .load import Run

Summary = dict[str, Any]

LATENCIES = {
    "ttft": "time to first token",
    "tpot": "time per output token after the first",
    "itl": "time between messages",
    "e2e": "time of a whole request",
}


def percentile(values: Sequence[float], share: float) -> float:
    """Linear between the two values around it; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    milliseconds = [1e3 * value for value in seconds]
    return {
        "mean": statistics.fmean(milliseconds) if milliseconds else 0.0,
        "median": percentile(milliseconds, 0.5),
        "p99": percentile(milliseconds, 0.99),
    }


def latencies(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Seconds by the names of LATENCIES."""
    return {
        "ttft": [sample.first_token for sample in samples],
        "tpot": [sample.per_token for sample in samples if sample.output_len > 1],
        "itl": [gap for sample in samples for gap in sample.gaps],
        "e2e": [sample.latency for sample in samples],
    }


def summarise(run: Run, goals: Mapping[str, float]) -> Summary:
    """Throughputs, latencies, and ``goodput``: requests a second that met every goal (ms)."""
    done = [sample for sample in run.samples if sample.error is None]
    input_len = sum(sample.input_len for sample in done)
    output_len = sum(sample.output_len for sample in done)
    summary: Summary = {
        "completed": len(done),
        "failed": len(run.samples) - len(done),
        "duration_s": run.seconds,
        "total_input_tokens": input_len,
        "total_output_tokens": output_len,
        "request_throughput": len(done) / run.seconds,
        "input_throughput": input_len / run.seconds,
        "output_throughput": output_len / run.seconds,
        "total_throughput": (input_len + output_len) / run.seconds,
        "concurrency": sum(sample.latency for sample in done) / run.seconds,
    }
    for name, seconds in latencies(done).items():
        summary |= {f"{kind}_{name}_ms": value for kind, value in spread(seconds).items()}
    if goals:
        summary["goodput"] = sum(_meets(sample, goals) for sample in done) / run.seconds
    return summary


def _meets(sample: Sample, goals: Mapping[str, float]) -> bool:
    reached = {"ttft": sample.first_token, "tpot": sample.per_token, "e2e": sample.latency}
    return all(1e3 * reached[name] <= most for name, most in goals.items())


def table(title: str, summary: Summary) -> str:
    """Aligned lines of name and value."""
    width = max(map(len, summary))
    lines = [title, "-" * (width + 16)]
    lines += [f"{name:<{width}}  {_text(value):>14}" for name, value in summary.items()]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def write_json(
    path: Path, summary: Summary, settings: Mapping[str, Any], details: Sequence[Sample] = ()
) -> None:
    """One line is appended, so that a file collects several runs."""
    line: dict[str, Any] = {"settings": dict(settings), **summary}
    if details:
        line["samples"] = [asdict(sample) for sample in details]
    with path.open("a") as file:
        file.write(json.dumps(line, default=str) + "\n")


def write_plot(path: Path, samples: Sequence[Sample], title: str) -> None:
    """The distribution of each latency, as a PNG.

    Raises:
        MissingExtraError: matplotlib is missing.
    """
    with needs("bench"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title)
    found = latencies([sample for sample in samples if sample.error is None])
    for axes, (name, seconds) in zip(figure.subplots(2, 2).flat, found.items(), strict=True):
        milliseconds = sorted(1e3 * value for value in seconds)
        shares = [100 * (i + 1) / len(milliseconds) for i in range(len(milliseconds))]
        axes.plot(milliseconds, shares)
        axes.set(title=LATENCIES[name], xlabel="ms", ylabel="% of samples", ylim=(0, 100))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
