"""The CPU kernels at each level of instructions that this machine can run."""

from __future__ import annotations

import shutil

import pytest
import torch

from sglang_lang.kernels.cpu.isa import LEVELS, available_levels, detect_isa
from sglang_lang.kernels.dispatch import Ops, load_ops

CPU = torch.device("cpu")


def _level(name: str) -> object:
    """The machine's own level runs in every test; the others are built for the slow ones."""
    runs_here = name in {level.name for level in available_levels()}
    marks = [pytest.mark.skipif(not runs_here, reason="this processor lacks the instructions")]
    if name != detect_isa().name:
        marks.append(pytest.mark.slow)
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="session", params=[_level(level.name) for level in LEVELS])
def ops(request: pytest.FixtureRequest) -> Ops:
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    return load_ops(CPU, "cpu", request.param)


@pytest.fixture(autouse=True, params=[1, 2], ids=["one-thread", "two-threads"])
def threads(request: pytest.FixtureRequest) -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)
