"""What a constraint costs: time per output token, beside unconstrained text of the same run.

    python -m benchmarks.constraint_cost [--batch 1,8,32] [--rounds 6] [--jump-forward off,on]

Each kind of constraint runs between two runs without one, on the same prompts and for the same
number of tokens, and is divided by their mean; the table holds medians, and the quartiles of these
ratios. The constraints force next to nothing (but for ``choices``, which forces all after the first
words), so what remains is what masks and matchers take. Drafts (n-gram speculation) are off.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import Any

from sglang_lang.runtime.engine import Engine

from .jump_forward import prompts, start

TOKENS = 96
WORDS = "river stone light under many small green house never morning paper long road".split()
LONG_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 4000}},
    "required": ["text"],
}


def long_choices(count: int) -> list[str]:
    """Texts of more than ``TOKENS`` tokens."""
    rng = random.Random(3)
    return [" ".join(rng.choices(WORDS, k=2 * TOKENS)) for _ in range(count)]


CONSTRAINTS: dict[str, dict[str, Any]] = {
    "regex": {"regex": r"(\w+[ ,.]\s?){200}"},
    "json_schema": {"json_schema": LONG_TEXT},
    "choices": {"choices": long_choices(24)},
}


def seconds_per_token(engine: Engine, batch: int, seed: int, constraint: dict[str, Any]) -> float:
    params = {"temperature": 0.0, "max_new_tokens": TOKENS, "ignore_eos": True, **constraint}
    began = time.perf_counter()
    outputs = engine.generate(prompts(batch, seed), params)
    seconds = time.perf_counter() - began
    tokens: int = sum(out["meta_info"]["completion_tokens"] for out in outputs)
    return seconds / tokens


def measure(engine: Engine, batch: int, rounds: int) -> None:
    ratios: dict[str, list[float]] = {name: [] for name in CONSTRAINTS}
    plain: list[float] = []
    for constraint in ({}, *CONSTRAINTS.values()):  # compiled, and every mask was filled once
        seconds_per_token(engine, batch, 0, constraint)
    for seed in range(1, rounds + 1):
        before = seconds_per_token(engine, batch, seed, {})
        for name, constraint in CONSTRAINTS.items():
            taken = seconds_per_token(engine, batch, seed, constraint)
            after = seconds_per_token(engine, batch, seed, {})
            ratios[name].append(2 * taken / (before + after))
            plain.append(after)
            before = after
    cells = [
        f"{statistics.median(found):.3f} ({low:.3f}-{high:.3f})"
        for found in ratios.values()
        for low, _, high in (statistics.quantiles(found, n=4),)
    ]
    print(
        f"| {batch} | {1e3 * statistics.median(plain):.2f} ms | {' | '.join(cells)} |", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--jump-forward", default="off,on")
    args = parser.parse_args()
    for mode in args.jump_forward.split(","):
        print(f"\njump-forward {mode}\n\n| batch | a token | {' | '.join(CONSTRAINTS)} |")
        print("| --- " * (2 + len(CONSTRAINTS)) + "|")
        with start(disable_jump_forward=mode == "off") as engine:
            for batch in map(int, args.batch.split(",")):
                measure(engine, batch, args.rounds)


if __name__ == "__main__":
    main()
