"""guidellm and aiperf load the server, and count what it answers without an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checkpoints import tiny_checkpoint

BIN = Path(sys.executable).parent
REQUESTS, OUTPUT_TOKENS = 6, 8
SECONDS = 240
TOKENIZER, REVISION = "tests/bytes", "0" * 40

pytestmark = [pytest.mark.slow, pytest.mark.clients]


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (BIN / tool).exists(), reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache that holds the tokenizer the tools make their prompts with."""
    home = tmp_path_factory.mktemp("hub")
    repository = home / "hub" / f"models--{TOKENIZER.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    tiny_checkpoint(snapshot, 0)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return home


def run(folder: Path, hub: Path, tool: str, *arguments: str) -> None:
    """Run one of the tools in ``folder``, without a network."""
    done = subprocess.run(
        [BIN / tool, *arguments],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(hub)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@needs("guidellm")
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_guidellm(openai_url: str, hub: Path, tmp_path: Path, route: str) -> None:
    target = openai_url.removesuffix("/v1")
    backend = f"kind=openai_http,target={target},api_key=sk-test,request_format={route}"
    run(
        tmp_path,
        hub,
        "guidellm",
        "run",
        *("--backend", backend),
        *("--profile", "kind=concurrent,streams=2"),
        *("--constraint", f"kind=max_requests,count={REQUESTS}"),
        *("--data", f"kind=synthetic_text,prompt_tokens=32,output_tokens={OUTPUT_TOKENS}"),
        *("--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}"),
        *("--output", f"kind=json,path={tmp_path / 'report.json'}"),
        "--disable-console",
    )
    [benchmark] = json.loads((tmp_path / "report.json").read_text())["benchmarks"]
    counts = benchmark["metrics"]["request_totals"]
    assert counts["successful"] == REQUESTS and counts["errored"] == 0, counts


@needs("aiperf")
@pytest.mark.parametrize("kind", ["chat", "completions", "responses", "embeddings"])
def test_aiperf(openai_url: str, hub: Path, tmp_path: Path, kind: str) -> None:
    url = openai_url.removesuffix("/v1")
    generates = kind != "embeddings"
    run(
        tmp_path,
        hub,
        "aiperf",
        "profile",
        *("--model", "default", "--url", url, "--api-key", "sk-test"),
        *("--endpoint-type", kind, "--tokenizer", TOKENIZER),
        *("--request-count", str(REQUESTS), "--concurrency", "2", "--isl", "32"),
        *(("--osl", str(OUTPUT_TOKENS), "--streaming") if generates else ()),
        *("--ui", "none", "--artifact-dir", str(tmp_path / "report")),
    )
    [report] = (tmp_path / "report").rglob("profile_export_aiperf.json")
    found: dict[str, Any] = json.loads(report.read_text())
    assert found["request_count"]["avg"] == REQUESTS, found
    assert not found.get("error_summary"), found["error_summary"]
