"""Where the time of a decoding step goes on this CPU, kernel by kernel, for one kind of weights.

    python -m benchmarks.step_parts [--kind bf16] [--batch 1 8 32] [--context 256] [--threads 1]

Shapes are SmolLM2-135M's. Each part is timed alone, with weights and caches that come from memory,
and multiplied by the layers; ``rest`` is what the fused stack takes beyond its parts (norms, rotary
embedding, residuals) or, below 0, what fusing saves (a parallel region for each part).
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.kernels import (
    KINDS,
    LAYERS,
    VOCAB,
    attention_work,
    cold_linear,
    decode_step,
    elementwise_work,
    seconds_of,
    stack_work,
)
from sglang_lang.kernels.dispatch import Ops, load_ops

LAYER_PARTS = ("qkv", "output", "gate_up", "down")


def parts_of(ops: Ops, kind: str, batch: int, context: int, seconds: float) -> dict[str, float]:
    """Milliseconds of each part of a step."""

    def linear(name: str) -> float:
        return 1e3 * seconds_of(cold_linear(ops, name, kind, batch).run, seconds)

    step = decode_step(batch, context)
    parts = {name: LAYERS * linear(name) for name in LAYER_PARTS}
    attention = attention_work(ops, step, "attention")
    parts["attention"] = LAYERS * 1e3 * seconds_of(attention.run, seconds)
    (stack,) = stack_work(ops, step, kind)
    whole = 1e3 * seconds_of(stack.run, seconds)
    parts["rest"] = whole - sum(parts.values())
    parts["stack"] = whole
    parts["logits"] = linear("logits")
    logits = torch.randn(batch, VOCAB)
    parts["argmax"] = 1e3 * seconds_of(lambda: ops.argmax(logits), seconds)
    for work in elementwise_work(ops, batch):
        if work.name == "sample":
            parts["top-p sample"] = 1e3 * seconds_of(work.run, seconds)
    return parts


def print_table(columns: dict[int, dict[str, float]]) -> None:
    print("| part, ms | " + " | ".join(f"batch {batch}" for batch in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for part in next(iter(columns.values())):
        print(f"| {part} | " + " | ".join(f"{of[part]:.2f}" for of in columns.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kind", choices=KINDS, default="bf16")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=0.3, help="spent on each part")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    ops = load_ops(torch.device("cpu"), "cpu")
    print(f"{args.kind}, context {args.context}, {torch.get_num_threads()} threads\n")
    print_table(
        {batch: parts_of(ops, args.kind, batch, args.context, args.seconds) for batch in args.batch}
    )


if __name__ == "__main__":
    main()
