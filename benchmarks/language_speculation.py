"""API speculative execution: a program's fields in one call, beside a call for each.

usage: python -m benchmarks.language_speculation [--url http://.../v1 --model NAME] [--rounds 3]

Without a URL a server of the embedded model is started, and its OpenAI API is asked. Prints calls,
prompt tokens as the API bills them, and seconds (medians), for programs of 3 and of 8 fields.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence

import sglang_lang as sgl

SHOTS = {
    "Days": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Holiday",
    "Months": "January February March April May June July August",
    "Numbers": "one two three four five six seven eight",
}
ASKED = "Planets, from the sun outwards"
HEAD = ("fields", "form", "calls", "prompt tokens", "fewer", "completion tokens", "time")


@sgl.function
def count(s: sgl.ProgramState, num_fields: int) -> None:
    s += "Lists, in order, with a number on each line.\n\n"
    for title, words in SHOTS.items():
        lines = [f"{i}: {word}" for i, word in enumerate(words.split(), 1)]
        s += "\n".join([f"{title}:", *lines[:num_fields]]) + "\n\n"
    s += f"{ASKED}:\n"
    for i in range(1, num_fields + 1):
        s += f"{i}:" + sgl.gen(f"field_{i}", stop="\n", max_tokens=24) + "\n"


def compared(backend: sgl.OpenAI, num_fields: int, rounds: int) -> Iterator[list[str]]:
    """A row for each form.

    Raises:
        AssertionError: they gave different values.
    """
    ahead = sgl.function(num_api_spec_tokens=8 * num_fields)(count.func)
    values, prompt_tokens = [], []
    for form, program in (("a call for each", count), ("writing ahead", ahead)):
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            state = program.run(num_fields, temperature=0, backend=backend)
            seconds.append(time.perf_counter() - start)
        values.append(state.variables)
        usage = state.usage
        prompt_tokens.append(usage.prompt_tokens)
        yield [
            str(num_fields),
            form,
            str(usage.calls),
            str(usage.prompt_tokens),
            f"{prompt_tokens[0] / usage.prompt_tokens:.2f}x",
            str(usage.completion_tokens),
            f"{statistics.median(seconds):.2f} s",
        ]
    assert values[0] == values[1]


def report(url: str, model: str, rounds: int) -> None:
    key = os.environ.get("OPENAI_API_KEY", "none")
    backend = sgl.OpenAI(model, is_chat_model=False, base_url=url, api_key=key)
    print(_line(HEAD), _line(["---"] * len(HEAD)), sep="\n")
    for num_fields in (3, 8):
        for row in compared(backend, num_fields, rounds):
            print(_line(row), flush=True)
    backend.shutdown()


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an OpenAI-compatible API; default: a server started here")
    parser.add_argument("--model", default="default")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.url:
        report(args.url, args.model, args.rounds)
        return
    with sgl.Runtime() as runtime:
        report(f"{runtime.base_url}/v1", args.model, args.rounds)


if __name__ == "__main__":
    main()
