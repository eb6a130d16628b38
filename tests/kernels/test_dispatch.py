"""load_ops chooses an implementation, and refuses what it cannot serve."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sglang_lang.kernels import dispatch
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


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_triton_serves_a_gpu_and_says_so() -> None:
    with pytest.raises(ValueError, match="'triton' cannot serve device 'cpu'.*NVIDIA GPU"):
        load_ops(CPU, "triton")


def test_without_triton_a_gpu_gets_the_references_and_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    with pytest.warns(RuntimeWarning, match="pip install triton") as caught:
        assert load_ops(torch.device("cuda")) is REFERENCE
    assert len(caught) == 1
    with pytest.raises(ValueError, match="'triton'.*pip install triton"):
        load_ops(torch.device("cuda"), "triton")
