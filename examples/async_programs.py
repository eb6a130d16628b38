"""Async programs: many at a time on one event loop, each awaiting what it has generated.

python examples/async_programs.py
"""

from __future__ import annotations

import asyncio

import sglang_lang as sgl

COUNTRIES = ["Italy", "Japan", "Egypt", "Spain"]


@sgl.function
async def describe(s: sgl.ProgramState, country: str) -> None:
    s += "The capital of France is Paris. Paris is known for the Eiffel Tower and its museums.\n"
    s += f"The capital of {country} is" + sgl.gen("capital", stop=[".", ","], max_tokens=8)
    capital = (await s.aget("capital")).strip()
    s += f". {capital} is known for" + sgl.gen("fame", stop=[".", "\n"], max_tokens=24)


async def describe_all(engine: sgl.Engine) -> None:
    runs = [describe.arun(country, temperature=0, backend=engine) for country in COUNTRIES]
    for finished in asyncio.as_completed(runs):
        state = await finished
        print(f"{state['capital'].strip()}: known for{state['fame']}")


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        asyncio.run(describe_all(engine))


if __name__ == "__main__":
    main()
