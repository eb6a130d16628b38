"""load_ops chooses an implementation, and refuses what it cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sglang_lang.kernels.dispatch import REFERENCE, load_ops

CPU = torch.device("cpu")


def test_reference_by_name() -> None:
    assert load_ops(CPU, "reference") is REFERENCE


def test_an_unknown_backend_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'cuda9'.*auto, reference"):
        load_ops(CPU, "cuda9")


def test_a_backend_that_cannot_serve_the_device_is_refused() -> None:
    with pytest.raises(ValueError, match="flashinfer.*cpu"):
        load_ops(CPU, "flashinfer")


def test_without_a_compiler_the_references_run_and_one_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGLANG_LANG_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.warns(RuntimeWarning, match=r"slower.*Install a recent g\+\+") as caught:
        assert load_ops(CPU) is REFERENCE
    assert len(caught) == 1


def test_an_instruction_set_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_LANG_CPU_ISA", "sve2")
    with pytest.raises(ValueError, match="'sve2'.*portable"):
        load_ops(CPU)
