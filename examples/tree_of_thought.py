"""Tree of thought: each step forks into ideas, the model rates them, and the best one goes on.

The branches run at the same time and share the KV cache of what they have in common.
python examples/tree_of_thought.py
"""

from __future__ import annotations

import sglang_lang as sgl

WIDTH = 3
DEPTH = 2


def rating(fork: sgl.ProgramState) -> float:
    """How much likelier the model finds Yes than No."""
    yes, no = fork.get_meta_info("helps")["normalized_prompt_logprobs"]
    return float(yes - no)


@sgl.function
def solve(s: sgl.ProgramState, problem: str) -> None:
    s += f"Problem: {problem}\nPlan, one short step a line:\n"
    for step in range(1, DEPTH + 1):
        forks = s.fork(WIDTH)
        forks += f"{step}."
        forks += sgl.gen("idea", stop="\n", max_tokens=30, temperature=0.9)
        forks += "\nQuestion: Does this step help?\nAnswer: "
        forks += sgl.select("helps", ["Yes", "No"])
        forks.join()
        ideas = [(rating(fork), fork["idea"].strip()) for fork in forks]
        s.set_var(f"ideas_{step}", ideas)
        s += f"{step}. {max(ideas)[1]}\n"
    s += "In short, you should" + sgl.gen("advice", stop="\n", max_tokens=40, temperature=0)


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        state = solve.run("My plants on the balcony dry out while I travel.", backend=engine)
        for step in range(1, DEPTH + 1):
            for score, idea in sorted(state[f"ideas_{step}"], reverse=True):
                print(f"step {step}  rated {score:+.2f}: {idea}")
        print(f"advice: {state['advice'].strip()}")
        usage = state.usage
        print(f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens were cached")


if __name__ == "__main__":
    main()
