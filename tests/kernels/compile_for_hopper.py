"""Compiles every Triton kernel for an H100, which takes no GPU, and prints what each needs of it.

usage: python tests/kernels/compile_for_hopper.py
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from sglang_lang.kernels.block_weight import quantize_int4
from sglang_lang.kernels.cache_format import row_width
from sglang_lang.kernels.fp8_weight import quantize_fp8
from sglang_lang.kernels.int8_weight import quantize_int8
from sglang_lang.kernels.triton_ops import elementwise, moe, norm, sampling
from sglang_lang.kernels.triton_ops.attention import PagedAttention
from sglang_lang.kernels.triton_ops.linear import LinearPacker

H100 = GPUTarget("cuda", 90, 32)
NUM_SMS = 132
SHARED_MEMORY = 227 << 10  # bytes that one program may take


class AbsentH100:
    """As much of Triton's driver as compiling asks for."""

    def get_current_target(self) -> GPUTarget:
        return H100

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_instead_of_launching() -> list[Any]:
    """From here on a launch only compiles; returns the list that the kernels are put into."""
    compiled: list[Any] = []
    launch = JITFunction.run

    @functools.wraps(launch)
    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        compiled.append(launch(kernel, *args, grid=grid, warmup=True, **kwargs))

    JITFunction.run = run
    driver.set_active(AbsentH100())
    return compiled


def call_every_kernel() -> None:
    """The shapes of an 8B model and of a mixture of 128 experts; no number is looked at."""
    _attention()
    _elementwise()
    _sampling()
    _linear()
    _experts()


def _attention() -> None:
    attend = PagedAttention(NUM_SMS)
    table = torch.zeros(9, 8192, dtype=torch.int32)
    rows, starts = torch.zeros(8, dtype=torch.int32), torch.zeros(9, dtype=torch.int32)
    for dtype, cache_dtype, window in (
        (torch.bfloat16, torch.bfloat16, None),
        (torch.bfloat16, torch.float8_e4m3fn, 1024),
        (torch.bfloat16, torch.int8, None),
        (torch.float32, torch.float32, None),
    ):
        cache = torch.empty(64, 8, row_width(128, cache_dtype)).to(cache_dtype)
        for tokens in (8, 4096):
            q = torch.empty(tokens, 32, 128, dtype=dtype)
            attend(q, cache, cache, table, rows, rows, starts, 0.1, window, None)


def _elementwise() -> None:
    dtype = torch.bfloat16
    x, weight = torch.empty(9, 4096, dtype=dtype), torch.empty(4096)
    norm.rms_norm(x, weight, 1e-5)
    norm.add_rms_norm(x, x, weight, 1e-5)
    norm.rms_norm(x.view(-1, 128), weight[:128], 1e-5)
    elementwise.silu_and_mul(x)
    elementwise.gelu_tanh_and_mul(x)
    q, k = torch.empty(9, 32, 128, dtype=dtype), torch.empty(9, 8, 128, dtype=dtype)
    elementwise.rotary(q, k, torch.zeros(9, dtype=torch.int64), torch.empty(64, 128))
    for cache_dtype in (dtype, torch.float8_e4m3fn, torch.int8):
        cache = torch.empty(64, 8, row_width(128, cache_dtype)).to(cache_dtype)
        elementwise.store_kv(k, k, cache, cache, torch.zeros(9, dtype=torch.int64))


def _sampling() -> None:
    logits, one = torch.empty(2, 128256), torch.ones(2)
    sampling.sample(logits, one, one.int(), one, one, one)
    sampling.argmax(logits)
    bitmask = torch.zeros(2, 128256 // 32, dtype=torch.int32)
    sampling.apply_token_bitmask_inplace(logits, bitmask, torch.zeros(2, dtype=torch.int64))


def _linear() -> None:
    packer = LinearPacker(NUM_SMS, dense_rows=512)
    weight, bias = torch.ones(512, 1024), torch.ones(512)
    for quantized in (
        quantize_int8(weight),
        quantize_fp8(weight),
        quantize_int4(weight, 128),
    ):
        layer = packer(quantized, bias)
        for rows in (1, 256, 600):
            layer(torch.empty(rows, 1024, dtype=torch.bfloat16))


def _experts() -> None:
    experts = moe.pack_experts(
        torch.empty(128, 2 * 64, 256, dtype=torch.bfloat16),
        torch.empty(128, 256, 64, dtype=torch.bfloat16),
    )
    for tokens in (1, 4096):
        weights, ids = moe.route_experts(torch.empty(tokens, 128), 8, True)
        experts(torch.empty(tokens, 256, dtype=torch.bfloat16), weights, ids)


def needs(compiled: list[Any]) -> Iterator[tuple[str, int]]:
    """(name and warps, bytes of shared memory) of each kernel, once."""
    for kernel in {id(kernel): kernel for kernel in compiled}.values():
        metadata = kernel.metadata
        yield f"{metadata.name} warps={metadata.num_warps}", metadata.shared


def main() -> None:
    compiled = compile_instead_of_launching()
    call_every_kernel()
    for name, shared in needs(compiled):
        print(f"{shared:7} bytes of shared memory: {name}")
        if shared > SHARED_MEMORY:
            raise SystemExit(f"{name} takes {shared} bytes of shared memory, over {SHARED_MEMORY}")


if __name__ == "__main__":
    main()
