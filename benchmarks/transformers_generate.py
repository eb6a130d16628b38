"""The single and batch works through transformers' ``generate``, in rows as load.py prints them.

usage: python -m benchmarks.transformers_generate [--model FOLDER_OR_GGUF] [--work single,batch]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from benchmarks import workloads
from sglang_lang.runtime.checkpoints.embedded import fetch_embedded_model

WORKS = {"single": workloads.single, "batch": workloads.batch}


def load(path: Path) -> tuple[Any, Any]:
    """Return (model in bfloat16, tokenizer that pads on the left)."""
    folder, more, quantization = path, {}, None
    if path.is_file():
        folder, more = path.parent, {"gguf_file": path.name}
        quantization = GgufConfig(dequantize=True)  # its packed weights are far slower
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", **more)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=quantization, **more
    )
    return model, tokenizer


def generate(model: Any, tokenizer: Any, prompts: list[str], new_tokens: int) -> int:
    """Greedy and in one padded batch; returns the number of prompt tokens."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    model.generate(**inputs, do_sample=False, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    return int(inputs["attention_mask"].sum())


def measure(model: Any, tokenizer: Any, name: str, work: workloads.Completions) -> None:
    batches = [[prompt] for prompt in work.prompts] if name == "single" else [work.prompts]
    start = time.perf_counter()
    input_len = sum(generate(model, tokenizer, batch, work.new_tokens) for batch in batches)
    seconds = time.perf_counter() - start
    output_len = len(work.prompts) * work.new_tokens
    row = {
        "work": name,
        "n": len(work.prompts),
        "wall_s": round(seconds, 3),
        "in_tok": input_len,
        "out_tok": output_len,
        "out_tok_s": round(output_len / seconds, 1),
    }
    print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="the embedded model when not given")
    parser.add_argument("--work", default=",".join(WORKS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model, tokenizer = load(args.model or fetch_embedded_model())
    generate(model, tokenizer, ["warm up"], 8)
    for name, make in WORKS.items():
        if name in args.work.split(","):
            measure(model, tokenizer, name, make(args.seed, args.scale))


if __name__ == "__main__":
    main()
