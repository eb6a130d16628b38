"""load_ops chooses an implementation, and refuses what it cannot serve."""

from __future__ import annotations

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
