"""What the tests of the Triton kernels share: hypothesis' settings, and how near is the same."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor

few = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # the interpreter is too slow to shrink in
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Equal up to the order of float32 sums, and the last bit of a 16-bit result."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    rtol, atol = {torch.float32: (1e-4, 1e-5), torch.bfloat16: (2e-2, 1e-2)}.get(
        actual.dtype, (2e-3, 1e-3)
    )
    torch.testing.assert_close(actual.float(), expected.float(), rtol=rtol, atol=atol)
