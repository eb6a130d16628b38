"""The results of prefix_sharing.py as a table, as JSON and as a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ON, OFF, NO_OVERLAP = "cache on", "cache off", "overlap off"
SETTINGS = (ON, OFF, NO_OVERLAP)
COLOURS = {ON: "#2563a8", OFF: "#c9cdd3", "best": "#111827"}


@dataclass(frozen=True, slots=True)
class Row:
    """One workload under one setting."""

    workload: str
    setting: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    seconds: float
    scheduler_cpu_seconds: float
    cache_seconds: float  # of the clock, in what a scheduler without a cache does not do
    first_token_ms: float  # median; of a select, until it is decided
    hit_rate: float
    best_hit_rate: float

    @property
    def tokens_per_second(self) -> float:
        """Prompt and output together: what the programs got done."""
        return (self.prompt_tokens + self.output_tokens) / self.seconds


@dataclass(frozen=True, slots=True)
class Report:
    """Every run; the numbers shown are medians over the runs of one workload and setting."""

    rows: list[Row]
    unrelated: list[Row]  # 100 prompts that share nothing, with the cache on and off

    @property
    def workloads(self) -> list[str]:
        return list(dict.fromkeys(row.workload for row in self.rows))

    def median(self, workload: str, setting: str, value: Callable[[Row], float]) -> float:
        rows = (*self.rows, *self.unrelated)
        return statistics.median(
            value(row) for row in rows if (row.workload, row.setting) == (workload, setting)
        )


def read_report(out: Path) -> Report:
    """What ``write_report`` wrote to OUT.json; empty if nothing has been."""
    path = out.with_suffix(".json")
    data = json.loads(path.read_text()) if path.exists() else {"rows": [], "unrelated": []}
    return Report(*([Row(**row) for row in data[part]] for part in ("rows", "unrelated")))


def write_report(report: Report, out: Path) -> None:
    """Write OUT.md, OUT.json and OUT.png."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    out.with_suffix(".md").write_text(table(report))
    plot(report, out.with_suffix(".png"))


HEAD = (
    "workload",
    "requests",
    "prompt tokens",
    "cache on, s",
    "cache off, s",
    "gain",
    "first token on, ms",
    "off, ms",
    "hit rate",
    "best possible",
    "overlap off, s",
)


def table(report: Report) -> str:
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    lines += [_line(_cells(report, workload)) for workload in report.workloads]
    cost = [_cost(report), ""] if report.unrelated else []
    return "\n".join([*lines, "", *cost])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(report: Report, workload: str) -> list[str]:
    on, off, in_turn = (
        report.median(workload, setting, lambda row: row.seconds) for setting in SETTINGS
    )
    first = [report.median(workload, s, lambda row: row.first_token_ms) for s in (ON, OFF)]
    hit_rate = report.median(workload, ON, lambda row: row.hit_rate)
    best = report.median(workload, ON, lambda row: row.best_hit_rate)
    return [
        workload,
        f"{report.median(workload, ON, lambda row: row.requests):.0f}",
        f"{report.median(workload, ON, lambda row: row.prompt_tokens):,.0f}",
        f"{on:.2f}",
        f"{off:.2f}",
        f"{off / on:.1f}x",
        f"{first[0]:.0f}",
        f"{first[1]:.0f}",
        f"{hit_rate:.1%}",
        f"{best:.1%} ({hit_rate / best:.0%} of it)",
        f"{in_turn:.2f} ({in_turn / on:.2f}x)",
    ]


def _cost(report: Report) -> str:
    """What the cache costs where it finds nothing.

    The time inside of it, since the clock of two runs differs by more than is asked about.
    """
    name = report.unrelated[0].workload
    on, off = [report.median(name, s, lambda row: row.seconds) for s in (ON, OFF)]
    within = report.median(name, ON, lambda row: row.cache_seconds)
    return (
        f"{report.unrelated[0].requests} {name}: {on:.2f} s with the cache on, {off:.2f} s off. Of "
        f"the first, {1e3 * within:.1f} ms are matching, inserting, locking and ordering, which "
        f"is {within / on:.2%}."
    )


# --------------------------------------------------------------------------- the plot


def plot(report: Report, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout="constrained")
    _bars(axes[0], report, lambda row: row.tokens_per_second, "{:,.0f}")
    axes[0].set_title("throughput, prompt and output tokens/s")
    _bars(axes[1], report, lambda row: row.first_token_ms / 1e3, "{:.2f}")
    axes[1].set_title("median time to the first token, s")
    _hit_rates(axes[2], report)
    axes[2].set_title("hit rate")
    axes[0].set_yticks(range(len(report.workloads)), report.workloads)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(left=False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _bars(axis: Any, report: Report, value: Callable[[Row], float], text: str) -> None:
    for offset, setting in ((-0.2, ON), (0.2, OFF)):
        values = [report.median(workload, setting, value) for workload in report.workloads]
        places = [place + offset for place in range(len(values))]
        bars = axis.barh(places, values, 0.38, color=COLOURS[setting], label=f"radix {setting}")
        axis.bar_label(bars, [text.format(v) for v in values], padding=3, fontsize=9)
    axis.margins(x=0.2)


def _hit_rates(axis: Any, report: Report) -> None:
    names = report.workloads
    reached = [report.median(name, ON, lambda row: row.hit_rate) for name in names]
    best = [report.median(name, ON, lambda row: row.best_hit_rate) for name in names]
    bars = axis.barh(range(len(names)), reached, 0.5, color=COLOURS[ON])
    axis.bar_label(bars, [f"{rate:.0%}" for rate in reached], padding=6, fontsize=9)
    axis.scatter(best, range(len(names)), marker="|", s=500, color=COLOURS["best"])
    axis.set_xlim(0, 1.15)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axis.set_xlabel("bar: reached; line: best possible")
