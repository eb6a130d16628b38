"""Few-shot classification: ``select`` takes the likeliest of the labels, so none is misspelt.

python examples/classify.py
"""

from __future__ import annotations

import sglang_lang as sgl

EXAMPLES = [
    ("The striker scored twice in the final.", "sports"),
    ("The shares of the bank fell sharply.", "business"),
    ("A telescope found water on a distant planet.", "science"),
]
LABELS = ["sports", "business", "science"]
MESSAGES = [
    "The company bought its largest competitor.",
    "Biologists described a new kind of frog.",
    "The team won its third match in a row.",
]


@sgl.function
def classify(s: sgl.ProgramState, message: str) -> None:
    for text, label in EXAMPLES:
        s += f"News: {text}\nTopic: {label}\n\n"
    s += f"News: {message}\nTopic: " + sgl.select("topic", LABELS)


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        batch = [{"message": message} for message in MESSAGES]
        for message, state in zip(MESSAGES, classify.run_batch(batch, backend=engine), strict=True):
            scores = state.get_meta_info("topic")["normalized_prompt_logprobs"]
            likelihoods = ", ".join(
                f"{label} {score:.2f}" for label, score in zip(LABELS, scores, strict=True)
            )
            print(f"{state['topic']:9} {message}  ({likelihoods})")


if __name__ == "__main__":
    main()
