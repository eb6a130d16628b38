"""The Triton kernels on a GPU where there is one, else in Triton's interpreter.

The interpreter must be chosen before triton is first imported, so without a GPU these files are
left to a process of their own: see tests/kernels/test_triton_ops.py.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest
import torch

from sglang_lang.kernels.dispatch import Ops, load_ops

INTERPRETS = os.environ.get("TRITON_INTERPRET") == "1"
ON_GPU = torch.cuda.is_available() and not INTERPRETS
collect_ignore_glob = [] if INTERPRETS or ON_GPU else ["test_*.py"]


def _let_ranges_end_at_tensors() -> None:
    """Triton 3.6 takes int() of arrays of one element, which numpy has refused since 2.4."""
    interpreter: Any = import_module("triton.runtime.interpreter")
    patch_tensor = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch


if INTERPRETS:
    _let_ranges_end_at_tensors()


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if ON_GPU else "cpu")


@pytest.fixture(scope="session")
def ops(device: torch.device) -> Ops:
    return load_ops(device, "triton")


@pytest.fixture(autouse=True)
def random_numbers(device: torch.device) -> object:
    """Every test draws the same numbers, on the device that it runs on."""
    torch.manual_seed(0)
    with device:
        yield
