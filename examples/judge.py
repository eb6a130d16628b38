"""An LLM judges which of two replies is better, along two dimensions at the same time.

The judge writes nothing: what it thinks is read from likelihoods. A reply is relevant if it makes
the question likely, and its tone is the likelier of two labels. Each view is a fork.
python examples/judge.py
"""

from __future__ import annotations

from typing import NamedTuple

import sglang_lang as sgl


class Case(NamedTuple):
    """A question and two replies to it."""

    question: str
    first: str
    second: str


CASES = [
    Case(
        "How do I boil an egg?",
        "Put the egg into boiling water for eight minutes, then cool it in cold water.",
        "Eggs are laid by hens, and my uncle once had a blue car.",
    ),
    Case(
        "What is the capital of France?",
        "I like cheese, and there are many kinds of it.",
        "The capital of France is Paris.",
    ),
    Case(
        "Where is my parcel?",
        "Stop asking. It is your own fault if you cannot wait for your parcel.",
        "Thank you for waiting. Your parcel left on Monday, and arrives tomorrow.",
    ),
]
TONES = """Reply: Thank you for writing to us, we are glad to help.
Tone: positive

Reply: That is your own fault, leave me alone.
Tone: negative

Reply: Could you please send us a photo?
Tone: positive

Reply: Do not waste my time with this.
Tone: negative

"""


@sgl.function
def judge(s: sgl.ProgramState, question: str, first: str, second: str) -> None:
    relevance = s.fork(2)
    relevance += lambda i: f"Answer: {(first, second)[i]}\nThis answers the question: "
    relevance += sgl.select("question", [question])
    tone = s.fork(2)
    tone += TONES
    tone += lambda i: f"Reply: {(first, second)[i]}\nTone: "
    tone += sgl.select("tone", ["positive", "negative"])

    likelihoods = [f.get_meta_info("question")["normalized_prompt_logprobs"][0] for f in relevance]
    s["relevance"] = likelihoods[0] - likelihoods[1]
    positive, negative = zip(
        *(fork.get_meta_info("tone")["normalized_prompt_logprobs"] for fork in tone), strict=True
    )
    s["tone"] = (positive[0] - negative[0]) - (positive[1] - negative[1])


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        states = judge.run_batch(CASES, backend=engine)
    for (question, first, second), state in zip(CASES, states, strict=True):
        print(f"{question}\n  1: {first}\n  2: {second}")
        for dimension in ("relevance", "tone"):
            margin = state[dimension]
            better = 1 if margin > 0 else 2
            print(f"  better in {dimension}: {better} (by {abs(margin):.2f} in log likelihood)")
        print(f"  better: {1 if state['relevance'] + state['tone'] > 0 else 2}")


if __name__ == "__main__":
    main()
