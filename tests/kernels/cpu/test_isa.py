"""Which level of instructions is chosen, on processors that this one need not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from sglang_lang.kernels.cpu import isa

EVERYTHING = frozenset().union(*(level.cpu_flags for level in isa.LEVELS))


@pytest.fixture(autouse=True)
def own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGLANG_LANG_CPU_ISA", raising=False)


def on_processor(monkeypatch: pytest.MonkeyPatch, folder: Path, flags: frozenset[str]) -> str:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {' '.join(flags)}\n")
    monkeypatch.setattr(isa, "CPUINFO", cpuinfo)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return isa.detect_isa().name


def test_each_level_runs_where_its_flags_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(isa, "_system_allows_tiles", lambda: True)
    for level in isa.LEVELS:
        assert on_processor(monkeypatch, tmp_path, level.cpu_flags) == level.name


def test_tiles_that_the_system_refuses_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(isa, "_system_allows_tiles", lambda: False)
    assert on_processor(monkeypatch, tmp_path, EVERYTHING) == "avx512_bf16"


def test_a_level_that_cannot_run_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SGLANG_LANG_CPU_ISA", "avx512")
    with pytest.raises(ValueError, match="'avx512'.*cannot run here; choose one of portable"):
        on_processor(monkeypatch, tmp_path, frozenset())


def test_an_argument_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_LANG_CPU_ISA", "no such level")
    assert isa.detect_isa("portable").name == "portable"
