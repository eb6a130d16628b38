"""The benchmarks as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sglang_lang import cli
from sglang_lang.cli import bench
from tests.runtime.server.echo_server import EchoServer

SMALL = ["--num-prompts", "5", "--random-input-len", "12", "--random-output-len", "6"]


@pytest.mark.parametrize("backend", ["sglang", "sglang-oai", "sglang-oai-chat"])
def test_serve_measures_each_dialect(
    server: EchoServer, backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    flags = ["--base-url", server.url, "--api-key", "key", "--backend", backend, *SMALL]
    flags += ["--random-range-ratio", "1", "--output-file", str(out), "--output-details"]
    flags += ["--flush-cache", "--goodput", "ttft:100000"]
    assert cli.main(["bench", "serve", *flags]) == 0
    [line] = map(json.loads, out.read_text().splitlines())
    assert (line["completed"], line["failed"]) == (5, 0)
    assert line["total_output_tokens"] == 30
    assert line["total_input_tokens"] >= 5 * 12 * 2  # bytes are its tokens
    assert line["goodput"] == line["request_throughput"] > 0
    assert 0 < line["median_ttft_ms"] <= line["median_e2e_ms"] <= line["p99_e2e_ms"]
    assert len(line["samples"]) == 5 and line["samples"][0]["gaps"]
    assert "key" not in str(line["settings"].get("api_key"))
    assert "median_ttft_ms" in capsys.readouterr().out


def test_serve_draws_a_plot_and_appends(server: EchoServer, tmp_path: Path) -> None:
    plot, out = tmp_path / "plot.png", tmp_path / "out.jsonl"
    flags = ["--base-url", server.url, "--api-key", "key", *SMALL, "--request-rate", "200"]
    flags += ["--plot", str(plot), "--output-file", str(out), "--max-concurrency", "2"]
    for _ in range(2):
        assert cli.main(["bench", "serve", *flags]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(out.read_text().splitlines()) == 2


def test_requests_that_fail_are_counted_and_told(
    server: EchoServer, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--base-url", server.url, *SMALL, "--warmup-requests", "0"]
    assert cli.main(["bench", "serve", *flags]) == 2
    printed = capsys.readouterr()
    assert "5 requests failed" in printed.err and "401" in printed.err
    assert "completed" in printed.out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["offline", "latency"])
def test_the_engine_is_measured(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    sizes = {
        "offline": SMALL,
        "latency": ["--input-len", "8", "--output-len", "4", "--iterations", "2"],
    }
    assert cli.main(["bench", kind, *sizes[kind], "--output-file", str(out)]) == 0
    line = json.loads(out.read_text())
    assert line["median_e2e_ms" if kind == "offline" else "median_ms"] > 0


@pytest.mark.slow
def test_start_up_is_measured_in_its_phases(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert cli.main(["bench", "startup", "--iterations", "1", "--output-file", str(out)]) == 0
    line = json.loads(out.read_text())
    assert all(line[f"{phase}_s"] >= 0 for phase in bench.PHASES)
    assert 0 < line["weights_s"] < line["ready_s"] < line["first_answer_s"]
