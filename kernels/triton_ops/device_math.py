"""Small functions that several kernels share, and what Triton's interpreter needs to agree.

The interpreter runs kernels on a CPU through numpy, which knows neither bfloat16 nor fp8.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
LOG2_E = tl.constexpr(1.4426950408889634)
FP8_LARGEST = tl.constexpr(448.0)  # of float8_e4m3fn
FP8_SMALLEST_NORMAL = tl.constexpr(0.015625)
# Adding it to a float32 of magnitude below 2**22 leaves no bit for a fraction.
ROUNDING = tl.constexpr(12582912.0)


@triton.jit
def dot(a: tl.tensor, b: tl.tensor, acc: tl.tensor) -> tl.tensor:
    """acc [M, N] float32 + a [M, K] @ b [K, N]; float32 operands are not cut to tf32."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def whole(x: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Integers as a floating type; over float32, since the interpreter cannot go directly."""
    return x.to(tl.float32).to(dtype)


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """Of float32, without libdevice; exact to the rounding of 1 - x."""
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


@triton.jit
def round_half_even(x: tl.tensor) -> tl.tensor:
    """The nearest whole number of a float32 of magnitude below 2**22."""
    return (x + ROUNDING) - ROUNDING


@triton.jit
def to_fp8(x: tl.tensor) -> tl.tensor:
    """float32 to float8_e4m3fn, saturating."""
    x = tl.minimum(tl.maximum(x, -FP8_LARGEST), FP8_LARGEST)
    if INTERPRETED:  # its own cast loses the carry when a mantissa rounds up to the next power
        x = _on_fp8_grid(x)
    return x.to(tl.float8e4nv)


@triton.jit
def _on_fp8_grid(x: tl.tensor) -> tl.tensor:
    """The float32 nearest to x among those that float8_e4m3fn holds, ties to even."""
    bits = x.to(tl.int32, bitcast=True)
    bits = (bits + 0x7FFFF + ((bits >> 20) & 1)) & -0x100000
    normal = bits.to(tl.float32, bitcast=True)
    subnormal = round_half_even(x * 512.0) / 512.0
    return tl.where(tl.abs(x) < FP8_SMALLEST_NORMAL, subnormal, normal)
