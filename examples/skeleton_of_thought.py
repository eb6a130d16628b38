"""Skeleton of thought: first the points of a text, then all its points at the same time.

python examples/skeleton_of_thought.py [ANIMAL, in the plural]
"""

from __future__ import annotations

import sys
import time

import sglang_lang as sgl

NUM_POINTS = 3
# What a point is called in the outline, and how its sentence begins.
POINTS = {
    "their food": "eat",
    "their home": "live in",
    "their young": "raise their young",
    "their sleep": "sleep",
    "their enemies": "are hunted by",
}


@sgl.function
def describe(s: sgl.ProgramState, animals: str) -> None:
    s += "The most interesting points about whales: their songs, their travels, their food.\n"
    s += f"The most interesting points about {animals}: "
    left = list(POINTS)
    for number in range(NUM_POINTS):
        s += sgl.select(f"point_{number}", left)
        left.remove(s[f"point_{number}"])
        s += ", " if number < NUM_POINTS - 1 else ".\n"
    points = [s[f"point_{number}"] for number in range(NUM_POINTS)]

    forks = s.fork(NUM_POINTS)
    for fork, point in zip(forks, points, strict=True):
        fork += f"A sentence about {point}: {animals.capitalize()} {POINTS[point]}"
        fork += sgl.gen("rest", stop=[".", "\n"], max_tokens=32)
    forks.join()
    s["text"] = [
        f"{point}: {animals.capitalize()} {POINTS[point]}{rest}."
        for point, rest in zip(points, s["rest"], strict=True)
    ]


def main() -> None:
    animals = sys.argv[1] if len(sys.argv) > 1 else "lions"
    with sgl.Engine(log_level="warning") as engine:
        start = time.perf_counter()
        state = describe.run(animals, temperature=0, backend=engine)
        seconds = time.perf_counter() - start
    print("\n".join(state["text"]))
    usage = state.usage
    print(f"{usage.completion_tokens} tokens in {usage.calls} calls, {seconds:.1f} s")


if __name__ == "__main__":
    main()
