"""AWQ and GPTQ matrices: packed here by the formats' own rules, then read back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sglang_lang.kernels.packed_int4 import unpack_awq, unpack_gptq

IN, OUT, GROUP = 64, 24, 16
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.fixture
def matrix() -> tuple[Tensor, Tensor, Tensor]:
    """values [in, out], zero points and scales [in / group, out]."""
    torch.manual_seed(0)
    values = torch.randint(0, 16, (IN, OUT))
    return values, torch.randint(1, 16, (IN // GROUP, OUT)), torch.rand(IN // GROUP, OUT).half()


def dense(values: Tensor, zeros: Tensor, scales: Tensor) -> Tensor:
    """[out, in] float32."""
    spread = [per_group.float().repeat_interleave(GROUP, dim=0) for per_group in (zeros, scales)]
    return ((values - spread[0]) * spread[1]).t()


def pack(rows_of_eight: Tensor) -> Tensor:
    """[..., 8] values to int32 words, the first in the lowest bits."""
    words = (rows_of_eight.long() << torch.arange(0, 32, 4)).sum(-1)
    return (words - (words >= 2**31).long() * 2**32).int()


def test_awq(matrix: tuple[Tensor, Tensor, Tensor]) -> None:
    values, zeros, scales = matrix
    qweight = pack(values.view(IN, -1, 8)[..., AWQ_ORDER])
    qzeros = pack(zeros.view(IN // GROUP, -1, 8)[..., AWQ_ORDER])
    weight = unpack_awq(qweight, qzeros, scales)
    assert (weight.bits, weight.block) == (4, GROUP)
    torch.testing.assert_close(weight.dequantize(), dense(values, zeros, scales))


def test_gptq(matrix: tuple[Tensor, Tensor, Tensor]) -> None:
    values, zeros, scales = matrix
    qweight = pack(values.t().reshape(OUT, -1, 8)).t()
    qzeros = pack((zeros - 1).view(IN // GROUP, -1, 8))
    weight = unpack_gptq(qweight, qzeros, scales, torch.arange(IN) // GROUP)
    assert (weight.bits, weight.block) == (4, GROUP)
    torch.testing.assert_close(weight.dequantize(), dense(values, zeros, scales))


def test_gptq_with_inputs_out_of_order_is_refused(matrix: tuple[Tensor, Tensor, Tensor]) -> None:
    values, zeros, scales = matrix
    words = pack(values.t().reshape(OUT, -1, 8)).t()
    with pytest.raises(ValueError, match="desc_act"):
        unpack_gptq(words, pack(zeros.view(-1, 3, 8)), scales, torch.randperm(IN) // GROUP)
