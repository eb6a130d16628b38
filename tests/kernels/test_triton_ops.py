"""The Triton kernels without a GPU: in Triton's interpreter, and through its compiler for Hopper.

Whether kernels are interpreted is settled when triton is first imported, so each way has a process
of its own, and this one is left as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# numpy warns of what the interpreter does with scalars, and of exp(-inf) and the like.
INTERPRETERS_OWN = ("DeprecationWarning", "RuntimeWarning")

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="needs the package triton: pip install triton"
)


def run(command: list[str], interpret: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": interpret, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/kernels/triton_ops run on the GPU")
def test_interpreted_kernels_agree_with_the_references() -> None:
    ignored = [f"-Wignore::{kind}:triton.runtime.interpreter" for kind in INTERPRETERS_OWN]
    done = run(["-m", "pytest", "-q", *ignored, "tests/kernels/triton_ops"], interpret="1")
    assert done.returncode == 0, done.stdout[-8000:]


def test_every_kernel_compiles_for_hopper() -> None:
    done = run(["tests/kernels/compile_for_hopper.py"], interpret="0")
    assert done.returncode == 0, done.stderr[-8000:]
