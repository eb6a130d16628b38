"""RMSNorm, alone and behind a residual sum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True, slots=True)
class NormConfig:
    """Launch of the norms: a program takes whole rows, several where they are short.

    Args:
        elements: of a program's tile, where rows allow.
        elements_per_warp: decides the number of warps.
    """

    elements: int = 4096
    elements_per_warp: int = 512
    max_warps: int = 16

    def launch(self, width: int) -> tuple[int, int, int]:
        """(rows of a program, padded width, warps)."""
        padded = triton.next_power_of_2(width)
        rows = max(1, self.elements // padded)
        warps = max(1, min(self.max_warps, rows * padded // self.elements_per_warp))
        return rows, padded, warps


CONFIG = NormConfig()


@triton.jit
def _normed(
    x: tl.tensor,  # [ROWS, PADDED] float32, 0 beyond WIDTH
    weight: tl.tensor,
    eps: tl.tensor,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
) -> tl.tensor:
    scale = tl.rsqrt(tl.sum(x * x, 1) / WIDTH + eps)
    columns = tl.arange(0, PADDED)
    gains = tl.load(weight + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
    return x * scale[:, None] * gains[None, :]


@triton.jit(do_not_specialize=["num_rows"])
def _rms_norm_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    x_stride: tl.tensor,
    eps: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
) -> None:
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, PADDED)[None, :]
    mask = (rows < num_rows) & (columns < WIDTH)
    values = tl.load(x + rows * x_stride + columns, mask=mask, other=0.0).to(tl.float32)
    normed = _normed(values, weight, eps, WIDTH, PADDED)
    tl.store(out + rows * WIDTH + columns, normed.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["num_rows"])
def _add_rms_norm_kernel(
    x: tl.tensor,
    residual: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    num_rows: tl.tensor,
    x_stride: tl.tensor,
    residual_stride: tl.tensor,
    eps: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    PADDED: tl.constexpr,
) -> None:
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, PADDED)[None, :]
    mask = (rows < num_rows) & (columns < WIDTH)
    residuals = residual + rows * residual_stride + columns
    update = tl.load(x + rows * x_stride + columns, mask=mask, other=0.0).to(tl.float32)
    # The residual is rounded to its own type before the norm reads it.
    total = (tl.load(residuals, mask=mask, other=0.0).to(tl.float32) + update).to(
        residual.dtype.element_ty
    )
    tl.store(residuals, total, mask=mask)
    normed = _normed(total.to(tl.float32), weight, eps, WIDTH, PADDED)
    tl.store(out + rows * WIDTH + columns, normed.to(out.dtype.element_ty), mask=mask)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    num_rows, width = x.shape
    out = torch.empty((num_rows, width), dtype=x.dtype, device=x.device)
    if num_rows:
        rows, padded, warps = CONFIG.launch(width)
        _rms_norm_kernel[(triton.cdiv(num_rows, rows),)](
            x, weight, out, num_rows, x.stride(0), eps, WIDTH=width, ROWS=rows, PADDED=padded,
            num_warps=warps,
        )  # fmt: skip
    return out


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    num_rows, width = x.shape
    out = torch.empty((num_rows, width), dtype=x.dtype, device=x.device)
    if num_rows:
        rows, padded, warps = CONFIG.launch(width)
        _add_rms_norm_kernel[(triton.cdiv(num_rows, rows),)](
            x, residual, weight, out, num_rows, x.stride(0), residual.stride(0), eps, WIDTH=width,
            ROWS=rows, PADDED=padded, num_warps=warps,
        )  # fmt: skip
    return out, residual
