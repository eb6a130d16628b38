"""The CPU implementation of sampling and of token bitmasks."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from .elementwise import dense_rows


class SamplingOps:
    """``argmax``, ``sample`` and ``apply_token_bitmask_inplace`` over one loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def argmax(self, logits: Tensor) -> Tensor:
        logits = dense_rows(logits)
        ids = torch.empty(logits.shape[0], dtype=torch.int64)
        self._library.argmax(
            logits.data_ptr(), logits.stride(0), *logits.shape, ids.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return ids

    def sample(
        self,
        logits: Tensor,
        temperatures: Tensor,
        top_ks: Tensor,
        top_ps: Tensor,
        min_ps: Tensor,
        uniforms: Tensor,
    ) -> Tensor:
        logits = dense_rows(logits)
        ids = torch.empty(logits.shape[0], dtype=torch.int64)
        per_row = (
            temperatures.float(), top_ks.int(), top_ps.float(), min_ps.float(), uniforms.double()
        )  # fmt: skip
        self._library.sample(
            logits.data_ptr(), logits.stride(0), *logits.shape,
            *(values.contiguous().data_ptr() for values in per_row), ids.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return ids

    def apply_token_bitmask_inplace(self, logits: Tensor, bitmask: Tensor, rows: Tensor) -> None:
        self._library.apply_token_bitmask(
            logits.data_ptr(), logits.stride(0), logits.shape[1], bitmask.data_ptr(),
            bitmask.stride(0), rows.data_ptr(), rows.shape[0], torch.get_num_threads(),
        )  # fmt: skip
