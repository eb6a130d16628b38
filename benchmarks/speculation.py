"""What n-gram speculation saves: three kinds of text with it on and off, at several batch sizes.

    python -m benchmarks.speculation [--rounds 3] [--batches 1,4,16] [--quantization gguf]

Both engines stand in one process and take turns, so that the ratio holds on a machine whose speed
drifts. Prints tokens per second, the share of drafted tokens that came true, and how many texts
are the same (in bfloat16 a row of several is rounded differently from a row alone, and two tokens
of nearly equal logits may change places; in float32 all are the same: --dtype float32).
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from itertools import pairwise
from typing import Any

from benchmarks.workloads import NOUNS
from sglang_lang.runtime.engine import Engine

NEW_TOKENS = 96
PAGE = (
    "def area(width, height):\n    return width * height\n\n"
    "def volume(width, height, depth):\n    return width * height * depth\n\n"
    "def surface(width, height, depth):\n"
    "    return 2 * (width * height + height * depth + width * depth)\n"
)


def prompts(kind: str, count: int, seed: int) -> list[str]:
    """``count`` prompts: free text, an answer that quotes its source, or an edit of code."""
    rng = random.Random(seed)
    out: list[str] = []
    for _ in range(count):
        nouns = rng.sample(NOUNS, 12)
        if kind == "free":
            out.append(chat(f"Write a short story about a {nouns[0]} and a {nouns[1]}."))
        elif kind == "quote":
            page = " ".join(f"The {a} stands beside the {b}." for a, b in pairwise(nouns))
            out.append(chat(f"{page}\n\nRepeat the text above word by word."))
        else:
            out.append(chat(f"{PAGE}\n\nWrite this code again, with {nouns[0]} for width."))
    return out


def chat(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def rate(
    engine: Engine, texts: list[str], temperature: float
) -> tuple[float, list[dict[str, Any]]]:
    """Output tokens per second, and the outputs."""
    params = {"temperature": temperature, "max_new_tokens": NEW_TOKENS, "seed": 1}
    start = time.perf_counter()
    outputs = engine.generate(texts, params)
    seconds = time.perf_counter() - start
    return sum(out["meta_info"]["completion_tokens"] for out in outputs) / seconds, outputs


def compare(off: Engine, on: Engine, kind: str, batch: int, args: argparse.Namespace) -> None:
    ratios: list[float] = []
    rates: list[float] = []
    drafted = accepted = same = 0
    for seed in range(args.rounds):
        texts = prompts(kind, batch, seed * 1000 + batch)
        plain_rate, plain = rate(off, texts, args.temperature)
        fast_rate, fast = rate(on, texts, args.temperature)
        ratios.append(fast_rate / plain_rate)
        rates.append(plain_rate)
        drafted += sum(out["meta_info"].get("spec_drafted_tokens", 0) for out in fast)
        accepted += sum(out["meta_info"].get("spec_accepted_tokens", 0) for out in fast)
        same += sum(a["text"] == b["text"] for a, b in zip(plain, fast, strict=True))
    print(
        f"{kind:5} batch {batch:2}: {statistics.median(rates):6.1f} tok/s plain, "
        f"{statistics.median(ratios):.2f}x with drafts ({min(ratios):.2f} to {max(ratios):.2f}), "
        f"{accepted} of {drafted} drafted tokens kept, {same} of {batch * args.rounds} texts same",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--kinds", default="free,quote,code")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--quantization")
    parser.add_argument("--draft-tokens", type=int, default=8)
    parser.add_argument("--min-match", type=int, default=3)
    parser.add_argument("--max-batch", type=int, default=64)
    args = parser.parse_args()
    settings = {
        "dtype": args.dtype,
        "quantization": args.quantization,
        "log_level": "error",
        "max_total_tokens": 40_000,
    }
    drafting = {
        "speculative_algorithm": "ngram",
        "speculative_num_draft_tokens": args.draft_tokens,
        "speculative_ngram_min_match": args.min_match,
        "speculative_max_batch": args.max_batch,
    }
    plain = {"speculative_algorithm": "none"}
    with Engine(**settings, **plain) as off, Engine(**settings, **drafting) as on:
        for engine in (off, on):
            engine.generate("Hello", {"max_new_tokens": 8})
        for kind in args.kinds.split(","):
            for batch in map(int, args.batches.split(",")):
                compare(off, on, kind, batch, args)


if __name__ == "__main__":
    main()
