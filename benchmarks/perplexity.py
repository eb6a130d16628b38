"""What each way of holding weights and KV costs in quality, and what it brings in speed.

    python -m benchmarks.perplexity [--settings "float32;int8"] [--model-path PATH] [--rounds 0]

For each setting: the perplexity of a text over windows of tokens, each token given those before it
in its window, through the engine (so with the KV cache's rounding, too); then output tokens per
second of one request, and of a batch. Prints the rows of a Markdown table. Speed wants a machine of
its own, perplexity does not: ``--rounds 0`` leaves the one out, ``--tokens 0`` the other.

The text is the first four chapters of Lewis Carroll's "Alice's Adventures in Wonderland" (1865,
public domain), with its paragraphs joined; models have seen it in training, so only differences
between the rows say something. The embedded model's weights are Q4_1 in its file, and "float32" is
what those stand for.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sglang_lang.runtime.engine import Engine

TEXT = Path(__file__).parents[1] / "tests" / "texts" / "alice.txt"
BATCH = 32
PROMPT_TOKENS = 64
NEW_TOKENS = 64

SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {},
    "int8": {"quantization": "int8"},
    "int4": {"quantization": "int4"},
    "gguf": {"quantization": "gguf"},
    "bfloat16, KV int8": {"kv_cache_dtype": "int8"},
    "bfloat16, KV fp8": {"kv_cache_dtype": "fp8"},
    "gguf, KV int8": {"quantization": "gguf", "kv_cache_dtype": "int8"},
}


def windows(token_ids: Sequence[int], width: int) -> Iterator[list[int]]:
    """Runs of ``width`` tokens, none twice; what is left over at the end is not used."""
    for start in range(0, len(token_ids) - width + 1, width):
        yield list(token_ids[start : start + width])


def mean_nats(engine: Engine, token_ids: Sequence[int], width: int) -> float:
    """Mean negative log-probability of the windows' tokens but the first of each."""
    losses: list[float] = []
    for window in windows(token_ids, width):
        answer = engine.generate(
            input_ids=window,
            sampling_params={"max_new_tokens": 0},
            return_logprob=True,
            logprob_start_len=0,
        )
        scored = answer["meta_info"]["input_token_logprobs"][1:]
        losses += [-logprob for logprob, *_ in scored]
    return statistics.fmean(losses)


def rate(engine: Engine, prompts: Sequence[Sequence[int]], rounds: int) -> float:
    """Output tokens per second, median."""
    params = {"max_new_tokens": NEW_TOKENS, "temperature": 0.0, "ignore_eos": True}
    rates = []
    for _ in range(rounds):
        engine.flush_cache()
        begin = time.perf_counter()
        engine.generate(input_ids=prompts, sampling_params=params)
        rates.append(len(prompts) * NEW_TOKENS / (time.perf_counter() - begin))
    return statistics.median(rates)


def measure(name: str, args: argparse.Namespace) -> list[str]:
    """The cells of a row."""
    flags = {"speculative_algorithm": "none", "max_total_tokens": 16384, **SETTINGS[name]}
    with Engine(model_path=args.model_path, **flags) as engine:
        ids = engine.get_tokenizer().encode(TEXT.read_text(encoding="utf-8"))
        cells = [name, "", "", ""]
        if args.tokens:
            cells[1] = f"{math.exp(mean_nats(engine, ids[: args.tokens], args.window)):.3f}"
        if args.rounds:
            prompts = list(windows(ids, PROMPT_TOKENS))[:BATCH]
            rate(engine, prompts[:1], 1)  # starts the threads
            cells[2] = f"{rate(engine, prompts[:1], args.rounds):.0f}"
            cells[3] = f"{rate(engine, prompts, args.rounds):.0f}"
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-path", help="by default the embedded model")
    parser.add_argument("--settings", default=";".join(SETTINGS), help="names, with ; between")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(
        "| setting | perplexity | single, tok/s | batch of 32, tok/s |\n| --- | --- | --- | --- |"
    )
    for name in args.settings.split(";"):
        print(f"| {' | '.join(measure(name, args))} |", flush=True)


if __name__ == "__main__":
    main()
