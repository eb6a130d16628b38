"""Time of every CPU kernel, and its share of what this machine's memory and arithmetic allow.

    python benchmarks/kernels.py [--backend cpu] [--batch 1 8 32] [--context 256] [--seconds 0.3]

Shapes are SmolLM2-135M's. The limits are the best figures of the same run: bytes per second of
summing a large array, and of a bfloat16 matrix product. An op's share is the larger of its bytes
over the first and its operations over the second. Weights and caches rotate, so they come from
memory as they do in a model; logits and hidden states stay in a cache, so their ops may pass 100%.
"""

from __future__ import annotations

import argparse
import math
import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor

from sglang_lang.kernels.block_weight import BlockWeight
from sglang_lang.kernels.dispatch import Ops, load_ops
from sglang_lang.kernels.int8_weight import quantize_int8
from sglang_lang.kernels.ops.decoder_stack import DecoderLayerWeights, DecoderWeights
from sglang_lang.kernels.ops.linear import Linear, Weight

HIDDEN, INNER, VOCAB, LAYERS = 576, 1536, 49_152, 30
HEADS, KV_HEADS, HEAD_DIM = 9, 3, 64
QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM
COLD_BYTES = 128 << 20  # more than any cache holds
DTYPE = torch.bfloat16


@dataclass(frozen=True, slots=True)
class Limits:
    bytes_per_second: float
    flops_per_second: float


@dataclass(frozen=True, slots=True)
class Work:
    """One op on some shape; ``run`` is called over and over."""

    name: str
    run: Callable[[], object]
    bytes: float
    flops: float = 0.0


def seconds_of(run: Callable[[], object], budget: float) -> float:
    """The best of as many runs as fit into the budget: others share this machine.

    On one thread that is CPU time, which they change less.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    run()
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = clock()
        run()
        best = min(best, clock() - start)
    return best


def measure_limits(ops: Ops, budget: float, before: Limits = Limits(0.0, 0.0)) -> Limits:
    array = torch.ones(COLD_BYTES // 4)
    x, weight = torch.randn(256, 1024).to(DTYPE), torch.randn(4096, 1024).to(DTYPE)
    products = (
        seconds_of(lambda: F.linear(x, weight), budget),
        seconds_of(Rotating(ops, [weight], x), budget),
    )
    flops = 2 * x.shape[0] * weight.numel()
    return Limits(
        max(before.bytes_per_second, array.nbytes / seconds_of(array.sum, budget)),
        max(before.flops_per_second, flops / min(products)),
    )


class Rotating:
    """Applies one of several packed layers after the other to the same input."""

    def __init__(self, ops: Ops, weights: Sequence[Weight], x: Tensor) -> None:
        self._layers: Iterator[Linear] = cycle([ops.pack_linear(w, None) for w in weights])
        self._x = x

    def __call__(self) -> Tensor:
        return next(self._layers)(self._x)


# How a weight is held: its bytes a number, and what makes one.
KINDS: dict[str, tuple[float, Callable[[int, int], Weight]]] = {
    "bf16": (2, lambda out_size, in_size: dense(out_size, in_size)),
    "int8": (1, lambda out_size, in_size: quantize_int8(dense(out_size, in_size))),
    "Q4_1": (5 / 8, lambda out_size, in_size: q4_1(out_size, in_size)),
}
LINEARS = {
    "qkv": (QKV, HIDDEN),
    "output": (HIDDEN, HIDDEN),
    "gate_up": (2 * INNER, HIDDEN),
    "down": (HIDDEN, INNER),
    "logits": (VOCAB, HIDDEN),
}


def linear_work(ops: Ops, batch: int) -> Iterator[Work]:
    for name in LINEARS:
        for kind in KINDS:
            yield cold_linear(ops, name, kind, batch)


def cold_linear(ops: Ops, name: str, kind: str, batch: int) -> Work:
    """A layer of ``LINEARS`` in one of ``KINDS`` whose weight is not in any cache."""
    out_size, in_size = LINEARS[name]
    bytes_of_one, make = KINDS[kind]
    size = out_size * in_size * bytes_of_one
    copies = math.ceil(COLD_BYTES / size)  # each is packed to memory of its own
    run = Rotating(ops, [make(out_size, in_size)] * copies, torch.randn(batch, in_size).to(DTYPE))
    return Work(f"linear {name} {kind}", run, size, 2.0 * batch * out_size * in_size)


def dense(out_size: int, in_size: int) -> Tensor:
    return (torch.randn(out_size, in_size) * 0.02).to(DTYPE)


def q4_1(out_size: int, in_size: int) -> BlockWeight:
    values = torch.randint(0, 16, (out_size, in_size), dtype=torch.uint8)
    scales = torch.rand(out_size, in_size // 32)
    return BlockWeight(values, 4, scales, -8 * scales)


@dataclass(frozen=True, slots=True)
class Step:
    """A decoding step of some requests with a context of their own."""

    hidden: Tensor
    positions: Tensor
    slots: Tensor
    k_caches: list[Tensor]
    v_caches: list[Tensor]
    req_to_token: Tensor
    req_pool_indices: Tensor
    seq_lens: Tensor
    query_start: Tensor

    @property
    def cache_bytes(self) -> float:
        """K and V that one layer reads."""
        return float(self.seq_lens.sum()) * 2 * KV_HEADS * HEAD_DIM * 2


def decode_step(batch: int, context: int) -> Step:
    table = torch.arange(1, batch * context + 1, dtype=torch.int32).view(batch, context)
    shape = (2 * LAYERS, batch * context + 1, KV_HEADS, HEAD_DIM)
    caches = list(on_huge_pages(torch.empty(shape, dtype=DTYPE).normal_()))
    return Step(
        hidden=torch.randn(batch, HIDDEN).to(DTYPE),
        positions=torch.full((batch,), context - 1),
        slots=table[:, -1].long(),
        k_caches=caches[:LAYERS],
        v_caches=caches[LAYERS:],
        req_to_token=table,
        req_pool_indices=torch.arange(batch, dtype=torch.int32),
        seq_lens=torch.full((batch,), context, dtype=torch.int32),
        query_start=torch.arange(batch + 1, dtype=torch.int32),
    )


def on_huge_pages(tensor: Tensor) -> Tensor:
    """A copy that lies as the KV pool does."""
    memory = mmap.mmap(-1, tensor.nbytes)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape).copy_(tensor)


def attention_work(ops: Ops, step: Step, name: str, extend_len: int = 1) -> Work:
    requests = len(step.seq_lens)
    q = torch.randn(requests * extend_len, HEADS, HEAD_DIM).to(DTYPE)
    layers = cycle(zip(step.k_caches, step.v_caches, strict=True))
    query_start = step.query_start * extend_len

    def run() -> Tensor:
        return ops.paged_attention(
            q, *next(layers), step.req_to_token, step.req_pool_indices, step.seq_lens, query_start,
            HEAD_DIM**-0.5, None, None,
        )  # fmt: skip

    seen = float(step.seq_lens.sum()) * extend_len - requests * extend_len * (extend_len - 1) / 2
    return Work(name, run, step.cache_bytes, 4 * seen * HEADS * HEAD_DIM)


def elementwise_work(ops: Ops, batch: int) -> Iterator[Work]:
    x, residual = torch.randn(2, batch, HIDDEN).to(DTYPE).unbind()
    norm, gate_up = torch.ones(HIDDEN), torch.randn(batch, 2 * INNER).to(DTYPE)
    logits = 3 * torch.randn(batch, VOCAB)
    bitmask = torch.randint(-(2**31), 2**31, (batch, VOCAB // 32), dtype=torch.int32)
    rows = torch.arange(batch)
    filters = (
        torch.ones(batch), torch.full((batch,), 50, dtype=torch.int32),
        torch.full((batch,), 0.9), torch.zeros(batch), torch.rand(batch),
    )  # fmt: skip
    yield Work("add_rms_norm", lambda: ops.add_rms_norm(x, residual, norm, 1e-5), 4.0 * x.nbytes)
    yield Work("silu_and_mul", lambda: ops.silu_and_mul(gate_up), 1.5 * gate_up.nbytes)
    yield Work("sample", lambda: ops.sample(logits, *filters), logits.nbytes)
    yield Work(
        "token_bitmask",
        lambda: ops.apply_token_bitmask_inplace(logits, bitmask, rows),
        2.0 * logits.nbytes,
    )


def stack_work(ops: Ops, step: Step, kind: str = "bf16") -> Iterator[Work]:
    """All layers in one call, where the backend offers it."""
    if ops.pack_decoder is None:
        return
    norm, table = torch.ones(HIDDEN), torch.randn(int(step.positions.max()) + 1, HEAD_DIM)

    bytes_of_one, make = KINDS[kind]

    made = {name: make(*shape) for name, shape in LINEARS.items() if name != "logits"}

    def linear(name: str) -> Linear:
        return ops.pack_linear(made[name], None)

    layers = [
        DecoderLayerWeights(
            norm, linear("qkv"), None, None, table, None, linear("output"), None, norm,
            linear("gate_up"), linear("down"), None,
        )
        for _ in range(LAYERS)
    ]  # fmt: skip
    stack = ops.pack_decoder(
        DecoderWeights(layers, norm, 1e-5, HEADS, KV_HEADS, HEAD_DIM, HEAD_DIM**-0.5, None, "silu")
    )
    if stack is None:
        return
    weights = LAYERS * (QKV * HIDDEN + HIDDEN * HIDDEN + 3 * INNER * HIDDEN)
    tokens = len(step.hidden)
    yield Work(
        f"decoder stack {kind}",
        lambda: stack(
            step.hidden, step.positions, step.slots, step.k_caches, step.v_caches,
            step.req_to_token, step.req_pool_indices, step.seq_lens, step.query_start,
        ),
        bytes_of_one * weights + LAYERS * step.cache_bytes,
        2.0 * weights * tokens,
    )  # fmt: skip


def all_work(ops: Ops, batch: int, context: int) -> Iterator[Work]:
    step = decode_step(batch, context)
    yield from elementwise_work(ops, batch)
    yield attention_work(ops, step, "attention decode")
    one = replace(decode_step(1, context), query_start=torch.tensor([0, 1], dtype=torch.int32))
    yield attention_work(ops, one, f"attention extend {context}", extend_len=context)
    yield from linear_work(ops, batch)
    for kind in KINDS:
        yield from stack_work(ops, step, kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=0.3, help="spent on each op")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ops = load_ops(torch.device("cpu"), args.backend)
    limits = measure_limits(ops, args.seconds)
    results: list[tuple[int, Work, float]] = []
    for batch in args.batch:
        for work in all_work(ops, batch, args.context):
            results.append((batch, work, seconds_of(work.run, args.seconds)))
        limits = measure_limits(ops, args.seconds, before=limits)
    print(
        f"{args.threads} threads: memory {limits.bytes_per_second / 1e9:.1f} GB/s, "
        f"bf16 products {limits.flops_per_second / 1e9:.0f} GFLOP/s"
    )
    print(f"{'batch':>5} {'op':22} {'us':>9} {'GB/s':>7} {'GFLOP/s':>8} {'of the limit':>12}")
    for batch, work, seconds in results:
        print_result(batch, work, seconds, limits)


def print_result(batch: int, work: Work, seconds: float, limits: Limits) -> None:
    limit = max(work.bytes / limits.bytes_per_second, work.flops / limits.flops_per_second)
    print(
        f"{batch:5} {work.name:22} {seconds * 1e6:9.1f} {work.bytes / seconds / 1e9:7.1f} "
        f"{work.flops / seconds / 1e9:8.1f} {limit / seconds:12.0%}"
    )


if __name__ == "__main__":
    main()
