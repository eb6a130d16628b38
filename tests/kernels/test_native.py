"""The build helper compiles, caches, and says clearly why it cannot."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from sglang_lang.kernels.native import (
    BuildError,
    NoCompilerError,
    build_shared_library,
    cache_folder,
)

SOURCE = '#include "factor.h"\nextern "C" __attribute__((visibility("default"))) int scale(int x)'


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_LANG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "factor.h").write_text("constexpr int factor = 2;\n")
    path = tmp_path / "scale.cpp"
    path.write_text(SOURCE + " { return x * factor; }\n")
    return path


def test_the_built_library_runs(source: Path) -> None:
    library = ctypes.CDLL(str(build_shared_library("scale", [source])))
    assert library.scale(21) == 42


def test_a_second_build_returns_the_first_file(source: Path) -> None:
    first = build_shared_library("scale", [source])
    stamp = first.stat().st_mtime_ns
    assert build_shared_library("scale", [source]) == first
    assert first.stat().st_mtime_ns == stamp


def test_a_changed_header_builds_anew(source: Path) -> None:
    first = build_shared_library("scale", [source])
    (source.parent / "factor.h").write_text("constexpr int factor = 3;\n")
    second = build_shared_library("scale", [source])
    assert second != first
    assert ctypes.CDLL(str(second)).scale(2) == 6


def test_other_flags_build_anew(source: Path) -> None:
    assert build_shared_library("scale", [source]) != build_shared_library(
        "scale", [source], ["-DOTHER"]
    )


def test_a_compile_error_is_reported_and_leaves_no_file(source: Path) -> None:
    source.write_text("this is not C++")
    with pytest.raises(BuildError, match="this"):
        build_shared_library("scale", [source])
    assert list((cache_folder() / "native").iterdir()) == []


def test_without_a_compiler_the_error_says_so(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoCompilerError, match=r"g\+\+"):
        build_shared_library("scale", [source])
