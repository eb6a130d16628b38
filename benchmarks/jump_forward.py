"""What jump-forward saves: an extraction with fixed keys, with it on and off, at batch 1 and 16.

    python benchmarks/jump_forward.py [--rounds 3]

Prints texts per second, output tokens, the share of them that was forced, and how many outputs
are the same text as without jump-forward (greedy decoding of other tokens may choose other words).
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from sglang_lang.runtime.engine import Engine

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


def prompts(count: int, seed: int) -> list[str]:
    return [
        f"Person {seed}-{i} is {PEOPLE[i % len(PEOPLE)]}. Their record as JSON:\n"
        for i in range(count)
    ]


def measure(engine: Engine, batch: int, rounds: int) -> tuple[float, list[dict[str, Any]]]:
    """Median texts per second, and the outputs of the first round."""
    params = {"temperature": 0.0, "max_new_tokens": 200, "json_schema": SCHEMA}
    engine.generate(prompts(1, 99), params)  # compiles the schema
    rates: list[float] = []
    first: list[dict[str, Any]] = []
    for round_number in range(rounds):
        start = time.perf_counter()
        outputs = engine.generate(prompts(batch, round_number), params)
        rates.append(batch / (time.perf_counter() - start))
        first = first or outputs
    return statistics.median(rates), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    results: dict[bool, dict[int, tuple[float, list[dict[str, Any]]]]] = {}
    for disabled in (True, False):
        with Engine(disable_jump_forward=disabled, log_level="error") as engine:
            results[disabled] = {n: measure(engine, n, args.rounds) for n in (1, 16)}
    for batch in (1, 16):
        (off, plain), (on, jumped) = results[True][batch], results[False][batch]
        tokens = sum(out["meta_info"]["completion_tokens"] for out in jumped)
        forced = sum(out["meta_info"]["forced_tokens"] for out in jumped)
        same = sum(a["text"] == b["text"] for a, b in zip(plain, jumped, strict=True))
        print(
            f"batch {batch:2}: {off:.2f} -> {on:.2f} texts/s ({on / off:.2f}x), "
            f"{forced}/{tokens} tokens forced, {same}/{batch} texts the same"
        )


if __name__ == "__main__":
    main()
