"""What bringing evicted KV back from files saves over computing it again.

    python -m benchmarks.kv_tier [--cpu-threads 2] [--lengths 512,2048,6144]

Prints, for each length of a prompt, the milliseconds to its first token: computed, brought back
from files by a fresh engine (the page cache of the system is warm), and found in the pool.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time

from sglang_lang.runtime.engine import Engine

ONE_TOKEN = {"max_new_tokens": 1, "temperature": 0.0, "ignore_eos": True}


def first_token_ms(engine: Engine, prompt: list[int]) -> tuple[float, int]:
    """Milliseconds to the first token, and how many tokens of the prompt were cached."""
    start = time.perf_counter()
    output = engine.generate(input_ids=prompt, sampling_params=ONE_TOKEN)
    return (time.perf_counter() - start) * 1e3, output["meta_info"]["cached_tokens"]


def started(folder: str, cpu_threads: int | None) -> Engine:
    engine = Engine(cache_dir=folder, log_level="warning", cpu_threads=cpu_threads)
    first_token_ms(engine, [1] * 8)
    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-threads", type=int)
    parser.add_argument("--lengths", default="512,2048,6144")
    args = parser.parse_args()
    rng = random.Random(0)
    lengths = [int(length) for length in args.lengths.split(",")]
    prompts = [[rng.randrange(1000, 40_000) for _ in range(length)] for length in lengths]
    with tempfile.TemporaryDirectory() as folder:
        with started(folder, args.cpu_threads) as engine:
            computed = [first_token_ms(engine, prompt) for prompt in prompts]
        with started(folder, args.cpu_threads) as engine:
            loaded = [first_token_ms(engine, prompt) for prompt in prompts]
            found = [first_token_ms(engine, prompt) for prompt in prompts]
    print("| tokens | computed, ms | from files, ms | cached tokens | from the pool, ms |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for length, cold, back, warm in zip(lengths, computed, loaded, found, strict=True):
        print(f"| {length:,} | {cold[0]:.0f} | {back[0]:.0f} | {back[1]:,} | {warm[0]:.0f} |")


if __name__ == "__main__":
    main()
