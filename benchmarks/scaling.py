"""How decoding grows with the batch and with the context, and prefill with the prompt.

    python -m benchmarks.scaling [--quantization int8] [--batches 1,8,32,128] [--contexts 128,8000]

Each point is an engine run of random prompts, each longer by some decoded tokens, less the same run
of one token, so a step counts with everything around it: scheduling, sampling, detokenising. The
prompts are cached by then; their prefill is timed in the first run.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

from sglang_lang.runtime.engine import Engine

FIRST_ID, LAST_ID = 100, 40_000  # ordinary tokens
SHORT = 128  # context of the table over batches


def seconds(engine: Engine, prompts: Sequence[Sequence[int]], new_tokens: int) -> float:
    params = {"max_new_tokens": new_tokens, "temperature": 0.0, "ignore_eos": True}
    start = time.perf_counter()
    engine.generate(input_ids=prompts, sampling_params=params)
    return time.perf_counter() - start


def measure(engine: Engine, batch: int, context: int, steps: int, seed: int) -> tuple[float, float]:
    """Seconds of the prompts' prefill, and of one decoding step."""
    rng = random.Random(f"{batch} {context} {seed}")  # nothing is cached from another point
    prompts = [[rng.randint(FIRST_ID, LAST_ID) for _ in range(context)] for _ in range(batch)]
    prefill = seconds(engine, prompts, 1)
    short = seconds(engine, prompts, 1)
    return prefill, (seconds(engine, prompts, 1 + steps) - short) / steps


def medians(engine: Engine, batch: int, context: int, args: argparse.Namespace) -> list[float]:
    runs = [measure(engine, batch, context, args.steps, seed) for seed in range(args.rounds)]
    return [statistics.median(column) for column in zip(*runs, strict=True)]


def batch_table(engine: Engine, args: argparse.Namespace) -> None:
    print(f"| batch, context {SHORT} | ms a step | output tok/s |\n| --- | --- | --- |")
    for batch in args.batches:
        _, step = medians(engine, batch, SHORT, args)
        print(f"| {batch} | {1e3 * step:.1f} | {batch / step:.0f} |", flush=True)


def context_table(engine: Engine, args: argparse.Namespace) -> None:
    print("\n| context, batch 1 | prefill tok/s | ms a step |\n| --- | --- | --- |")
    for context in args.contexts:
        prefill, step = medians(engine, 1, context, args)
        print(f"| {context} | {context / prefill:.0f} | {1e3 * step:.1f} |", flush=True)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quantization")
    parser.add_argument("--kv-cache-dtype", default="auto")
    parser.add_argument("--batches", type=numbers, default=[1, 2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--contexts", type=numbers, default=[128, 512, 2048, 8000])
    parser.add_argument("--steps", type=int, default=24, help="decoded for each point")
    parser.add_argument("--rounds", type=int, default=3, help="medians over so many")
    args = parser.parse_args()
    settings: dict[str, Any] = {
        "quantization": args.quantization,
        "kv_cache_dtype": args.kv_cache_dtype,
        "speculative_algorithm": "none",
        "log_level": "error",
    }
    with Engine(**settings) as engine:
        seconds(engine, [[FIRST_ID] * SHORT] * 2, 8)
        batch_table(engine, args)
        context_table(engine, args)


if __name__ == "__main__":
    main()
