"""Tree of thought: reach a number from three others, keeping the most promising steps.

Every step forks the program: the model rates each possible next step, the best few go on, and
Python computes and checks. Branches run at the same time and share the KV cache of their past.
python examples/tree_of_thought.py
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import sglang_lang as sgl

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
WIDTH = 4
EXAMPLES = """Use every number once to reach the goal.

Numbers: 2 3 4
Goal: 20
Steps: 2 + 3 = 5 (left: 4 5), 4 * 5 = 20 (left: 20). Reached.

Numbers: 6 1 3
Goal: 15
Steps: 6 - 1 = 5 (left: 3 5), 3 * 5 = 15 (left: 15). Reached.

Numbers: 5 5 2
Goal: 27
Steps: 5 * 5 = 25 (left: 2 25), 2 + 25 = 27 (left: 27). Reached.

"""


@dataclass(frozen=True)
class Thought:
    """A step, the numbers that it leaves, and how likely the model finds the way there."""

    text: str
    left: tuple[int, ...]
    rating: float = 0.0


def next_steps(numbers: tuple[int, ...]) -> Iterator[Thought]:
    """Two of the numbers become one; larger first where the order matters."""
    for a, b in permutations(range(len(numbers)), 2):
        rest = [number for i, number in enumerate(numbers) if i not in (a, b)]
        for sign, compute in OPERATIONS.items():
            x, y = numbers[a], numbers[b]
            if sign == "-" and x < y or sign != "-" and a > b:
                continue
            left = (*rest, compute(x, y))
            shown = " ".join(map(str, left))
            yield Thought(f"{x} {sign} {y} = {left[-1]} (left: {shown})", left)


@sgl.function
def solve(s: sgl.ProgramState, numbers: tuple[int, ...], goal: int) -> None:
    s += EXAMPLES + f"Numbers: {' '.join(map(str, numbers))}\nGoal: {goal}\nSteps: "
    paths = [[Thought("", numbers)]]
    for depth in range(1, len(numbers)):
        forks = s.fork(len(paths))
        candidates = [list(next_steps(path[-1].left)) for path in paths]
        for fork, path, thoughts in zip(forks, paths, candidates, strict=True):
            fork += "".join(f"{thought.text}, " for thought in path[1:])
            fork += sgl.select("step", [thought.text for thought in thoughts])
        grown = [
            [*path, Thought(thought.text, thought.left, path[-1].rating + rating)]
            for fork, path, thoughts in zip(forks, paths, candidates, strict=True)
            for thought, rating in zip(
                thoughts, fork.get_meta_info("step")["normalized_prompt_logprobs"], strict=True
            )
        ]
        forks.join()
        grown.sort(key=lambda path: path[-1].rating, reverse=True)
        paths = grown[:WIDTH] if depth < len(numbers) - 1 else grown
    reached = [path for path in paths if path[-1].left == (goal,)]
    s["tried"] = len(paths)
    s["solution"] = ", ".join(thought.text for thought in reached[0][1:]) if reached else ""


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        for numbers, goal in (((3, 4, 5), 35), ((7, 2, 6), 30), ((9, 1, 8), 80)):
            state = solve.run(numbers, goal, backend=engine)
            usage = state.usage
            print(f"{goal} from {numbers}: {state['solution'] or 'not found'}")
            print(
                f"  {state['tried']} ways tried in {usage.calls} calls; "
                f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens were cached"
            )


if __name__ == "__main__":
    main()
