"""What jump-forward saves, and which texts it changes: greedy, on the embedded model.

    python -m benchmarks.jump_forward [--rounds 3] [--only extraction,tools,texts]

``extraction``: six fixed keys, with jump-forward on and off, at batch 1 and 16. ``tools``: calls of
strict tool schemas; the share of decode steps that jump-forward saves, against one step for each
token of the text as the tokenizer spells it, and how many outputs are spelled that way.
``texts``: the share of outputs that are the same with it and without, and of the others those
that decoding alone spells otherwise than the tokenizer does. Drafts (n-gram speculation) are off,
so that a step gives one token unless text is forced.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

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
RECORD = r'\{"name": "[A-Z][a-z]{1,12}", "age": [1-9][0-9]?, "city": "[A-Z][a-z]{2,12}"\}'
SHOTS = "".join(
    f"Person 0-{i} is {PEOPLE[i]}. Their record as JSON:\n"
    f'{{"name": "{name}", "age": {age}, "city": "{city}"}}\n'
    for i, (name, age, city) in enumerate((("Alice", 31, "Paris"), ("Bruno", 64, "Lisbon")))
)
BATCHES = (1, 16)

Output = dict[str, Any]


def prompts(count: int, seed: int) -> list[str]:
    return [
        f"Person {seed}-{i} is {PEOPLE[i % len(PEOPLE)]}. Their record as JSON:\n"
        for i in range(count)
    ]


def start(disable_jump_forward: bool = False, dtype: str = "auto") -> Engine:
    return Engine(
        disable_jump_forward=disable_jump_forward,
        dtype=dtype,
        speculative_algorithm="none",
        log_level="error",
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


# ---------------------------------------------------------------------- texts


class Text(NamedTuple):
    text: str
    is_canonical: bool  # spelled by the tokens that the tokenizer spells it with


def constrained_work(engine: Engine) -> dict[str, tuple[list[str], list[dict[str, Any]]]]:
    """Prompts, each with its sampling parameters, by kind of constraint."""
    people = prompts(32, 7)
    by_name = {tool["name"]: tool for tool in TOOLS}
    asked = [engine.render_chat([{"role": "user", "content": text}]) for _, text in REQUESTS]
    named = [{"tool_calls": calls([by_name[name]])} for name, _ in REQUESTS]
    return {
        "regex": ([SHOTS + person for person in people], [{"regex": RECORD}] * len(people)),
        "json_schema": (people, [{"json_schema": SCHEMA}] * len(people)),
        "named tool": (asked, named),
        "any tool": (asked, [{"tool_calls": calls(TOOLS)}] * len(asked)),
    }


def texts_of(disable_jump_forward: bool) -> dict[str, list[Text]]:
    with start(disable_jump_forward, dtype="float32") as engine:
        encode = engine.get_tokenizer().encode_continuation
        found = {}
        for kind, (asked, constraints) in constrained_work(engine).items():
            params = [{"temperature": 0.0, "max_new_tokens": 200, **one} for one in constraints]
            outputs = engine.generate(asked, params)
            found[kind] = [Text(o["text"], encode(o["text"]) == o["output_ids"]) for o in outputs]
        return found


def texts() -> None:
    without, jumped = texts_of(True), texts_of(False)
    for kind, plain in without.items():
        pairs = list(zip(plain, jumped[kind], strict=True))
        same = sum(a.text == b.text for a, b in pairs)
        led = sum(a.text != b.text and not a.is_canonical for a, b in pairs)
        print(
            f"texts, {kind}: {same}/{len(pairs)} the same; of the others {led} are spelled "
            f"otherwise than the tokenizer does where each token is decoded, "
            f"{len(pairs) - same - led} are not"
        )
        for a, b in pairs:
            if a.text != b.text:
                print(f"  decoded{'' if a.is_canonical else ' otherwise'}: {a.text!r}")
                print(f"  jumped{'' if b.is_canonical else ' otherwise'}: {b.text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="extraction,tools,texts")
    args = parser.parse_args()
    wanted = args.only.split(",")
    if "extraction" in wanted:
        extraction(args.rounds)
    if "tools" in wanted:
        tools()
    if "texts" in wanted:
        texts()


if __name__ == "__main__":
    main()
