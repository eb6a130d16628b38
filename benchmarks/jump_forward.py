"""What jump-forward saves, and what a constraint costs: greedy, on the embedded model.

    python -m benchmarks.jump_forward [--rounds 3] [--only extraction,tools,overhead]

``extraction``: six fixed keys, with jump-forward on and off, at batch 1 and 16. ``tools``: calls of
strict tool schemas; the share of decode steps that jump-forward saves, against one step for each
token of the text as the tokenizer spells it, and how many outputs are spelled that way.
``overhead``: seconds for a token of constrained and unconstrained output, in turn. Drafts (n-gram
speculation) are off, so that a step gives one token unless text is forced.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

from sglang_lang.runtime.engine import Engine

from .tool_schemas import REQUESTS, TOOLS

SCHEMA = {
    "type": "object",
    "properties": {
        "full_name": {"type": "string", "maxLength": 20},
        "date_of_birth": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "employment_status": {"enum": ["employed", "self-employed", "retired", "student"]},
        "country_of_residence": {"enum": ["France", "Germany", "Japan", "Brazil", "Canada"]},
        "number_of_children": {"type": "integer", "minimum": 0, "maximum": 9},
        "has_driving_licence": {"type": "boolean"},
    },
    "required": [
        "full_name",
        "date_of_birth",
        "employment_status",
        "country_of_residence",
        "number_of_children",
        "has_driving_licence",
    ],
    "additionalProperties": False,
}
PEOPLE = ["a baker", "a pilot", "a painter", "a nurse", "a farmer", "a judge", "a cook", "a poet"]
LONG_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 4000}},
    "required": ["text"],
}
BATCHES = (1, 16)
OVERHEAD_TOKENS = 96

Output = dict[str, Any]


def prompts(count: int, seed: int) -> list[str]:
    return [
        f"Person {seed}-{i} is {PEOPLE[i % len(PEOPLE)]}. Their record as JSON:\n"
        for i in range(count)
    ]


def start(disable_jump_forward: bool = False) -> Engine:
    return Engine(
        disable_jump_forward=disable_jump_forward, speculative_algorithm="none", log_level="error"
    )


# ---------------------------------------------------------------------- extraction


def texts_per_second(engine: Engine, batch: int, rounds: int) -> tuple[float, list[Output]]:
    """Median texts per second, and the outputs of the first round."""
    params = {"temperature": 0.0, "max_new_tokens": 200, "json_schema": SCHEMA}
    engine.generate(prompts(1, 99), params)  # compiles the schema
    rates: list[float] = []
    first: list[Output] = []
    for round_number in range(rounds):
        began = time.perf_counter()
        outputs = engine.generate(prompts(batch, round_number), params)
        rates.append(batch / (time.perf_counter() - began))
        first = first or outputs
    return statistics.median(rates), first


def extraction(rounds: int) -> None:
    results: dict[bool, dict[int, tuple[float, list[Output]]]] = {}
    for disabled in (True, False):
        with start(disabled) as engine:
            results[disabled] = {n: texts_per_second(engine, n, rounds) for n in BATCHES}
    for batch in BATCHES:
        (off, plain), (on, jumped) = results[True][batch], results[False][batch]
        tokens = sum(out["meta_info"]["completion_tokens"] for out in jumped)
        forced = sum(out["meta_info"]["forced_tokens"] for out in jumped)
        same = sum(a["text"] == b["text"] for a, b in zip(plain, jumped, strict=True))
        print(
            f"extraction, batch {batch:2}: {off:.2f} -> {on:.2f} texts/s ({on / off:.2f}x), "
            f"{forced}/{tokens} tokens forced, {same}/{batch} texts the same"
        )


# ---------------------------------------------------------------------- tools


def call_of(tool: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": tool["name"]}, "arguments": tool["parameters"]},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def calls(tools: Sequence[dict[str, Any]]) -> str:
    frame = {"opening": "", "begin": "<tool_call>\n", "end": "\n</tool_call>", "separator": "\n"}
    schemas = [call_of(tool) for tool in tools]
    return json.dumps({**frame, "closing": "", "calls": schemas, "min": 1, "max": 1})


def tools() -> None:
    """Each request with its own tool alone (named) and with all of them (required)."""
    by_name = {tool["name"]: tool for tool in TOOLS}
    with start() as engine:
        tokenizer = engine.get_tokenizer()
        for title in ("named", "required"):
            steps = spelled = canonical = finished = 0
            for name, text in REQUESTS:
                prompt = engine.render_chat([{"role": "user", "content": text}])
                params = {"temperature": 0.0, "max_new_tokens": 250}
                before = engine.get_server_info()["steps"]
                offered = [by_name[name]] if title == "named" else TOOLS
                out = engine.generate(prompt, {**params, "tool_calls": calls(offered)})
                steps += engine.get_server_info()["steps"] - before
                ids = tokenizer.encode_continuation(out["text"])
                spelled += len(ids)
                canonical += ids == out["output_ids"]
                finished += out["meta_info"]["finish_reason"]["type"] == "stop"
            print(
                f"tools, {title}: {steps} steps for {spelled} tokens "
                f"({1 - steps / spelled:.1%} saved), {canonical}/{len(REQUESTS)} outputs spelled "
                f"canonically, {finished} finished"
            )


# ---------------------------------------------------------------------- overhead


def seconds_per_token(engine: Engine, batch: int, seed: int, constraint: dict[str, Any]) -> float:
    params = {"temperature": 0.0, "max_new_tokens": OVERHEAD_TOKENS, "ignore_eos": True}
    began = time.perf_counter()
    outputs = engine.generate(prompts(batch, seed), {**params, **constraint})
    seconds = time.perf_counter() - began
    tokens: int = sum(out["meta_info"]["completion_tokens"] for out in outputs)
    return seconds / tokens


def overhead(rounds: int) -> None:
    """Pairs of runs, each time the other kind first; free text in JSON forces next to nothing."""
    with start() as engine:
        for constraint in ({"json_schema": LONG_TEXT}, {"regex": r"(\w+[ ,.]\s?){200}"}):
            for batch in BATCHES:
                seconds_per_token(engine, batch, 99, constraint)
                ratios: list[float] = []
                for seed in range(2 * rounds):
                    kinds = [{}, constraint] if seed % 2 else [constraint, {}]
                    first, second = (seconds_per_token(engine, batch, seed, kind) for kind in kinds)
                    ratios.append(second / first if seed % 2 else first / second)
                spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
                print(
                    f"overhead, {next(iter(constraint))}, batch {batch:2}: a token takes "
                    f"{statistics.median(ratios):.3f} of the time without constraint ({spread})"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="extraction,tools,overhead")
    args = parser.parse_args()
    wanted = args.only.split(",")
    if "extraction" in wanted:
        extraction(args.rounds)
    if "tools" in wanted:
        tools()
    if "overhead" in wanted:
        overhead(args.rounds)


if __name__ == "__main__":
    main()
