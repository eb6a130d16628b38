"""A ReAct agent: thought, action, observation, with a calculator as its tool.

The action's form is a regex, so that the tool always gets something that it can run.
python examples/react_agent.py
"""

from __future__ import annotations

import operator

import sglang_lang as sgl

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
MAX_STEPS = 3
EXAMPLES = """Question: A box holds 12 eggs. How many eggs are in 30 boxes?
Thought: I multiply the eggs of a box by the boxes.
Action: 12 * 30
Observation: 360
Thought: These are all the eggs.
Answer: 360

Question: Tom has 250 stamps and gives 75 to his sister. How many has he left?
Thought: I subtract the stamps he gives from the stamps he has.
Action: 250 - 75
Observation: 175
Thought: These are the stamps he has left.
Answer: 175

"""
QUESTIONS = [
    "A train has 14 cars with 60 seats each. How many seats has the train?",
    "Lisa has 500 photos and deletes 120. How many photos has she left?",
]


def calculate(expression: str) -> int:
    """The tool: ``expression`` is a number, an operator and a number."""
    left, sign, right = expression.split()
    return int(OPERATIONS[sign](int(left), int(right)))


@sgl.function
def agent(s: sgl.ProgramState, question: str) -> None:
    s += EXAMPLES + f"Question: {question}\n"
    for step in range(MAX_STEPS):
        s += "Thought:" + sgl.gen(f"thought_{step}", stop="\n", max_tokens=30) + "\n"
        s += sgl.select(f"next_{step}", ["Action:", "Answer:"] if step else ["Action:"])
        if s[f"next_{step}"] == "Answer:":
            break
        s += " " + sgl.gen(f"action_{step}", regex=r"[1-9]\d{0,3} [-+*] [1-9]\d{0,3}\n")
        s += f"Observation: {calculate(s[f'action_{step}'])}\n"
    else:
        s += "Answer:"
    s += " " + sgl.gen("answer", regex=r"-?\d{1,8}\n")


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        for question in QUESTIONS:
            state = agent.run(question, temperature=0, backend=engine)
            print(state.text().removeprefix(EXAMPLES))


if __name__ == "__main__":
    main()
