"""The doctor's report: every topic, and advice exactly where something is missing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from sglang_lang.runtime import doctor


def test_a_complete_machine_is_described() -> None:
    topics = [finding.topic for finding in doctor.examine()]
    assert topics[:3] == ["processor", "memory", "python"]
    assert {"compiler", "gpu", "kernels (cpu)", "cache"} <= set(topics)


def test_every_op_is_listed_with_its_implementation() -> None:
    [kernels] = [f for f in doctor.examine() if f.topic == "kernels (cpu)"]
    for op in ("rms_norm", "paged_attention", "sample"):
        assert op in kernels.text


def test_a_missing_compiler_says_what_it_costs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    [compiler] = [f for f in doctor.examine() if f.topic == "compiler"]
    assert compiler.text == "none"
    assert compiler.advice is not None
    assert "slower" in compiler.advice
    assert "g++" in compiler.advice


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = ["httpx>=0.27", 'absent-package>=1; extra == "cuda"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: requires)
    client, cuda = (f for f in doctor.examine() if f.topic in ("client", "cuda"))
    assert client.advice is None
    assert client.text.startswith("httpx ")
    assert cuda.advice == "without absent-package: pip install 'sglang-lang[cuda]'"


def test_the_cache_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(bytes(1 << 20))
    monkeypatch.setattr("sglang_lang.runtime.doctor.cache_folder", lambda: tmp_path)
    [cache] = [f for f in doctor.examine() if f.topic == "cache"]
    assert cache.text == f"{tmp_path}, 1 MiB"
