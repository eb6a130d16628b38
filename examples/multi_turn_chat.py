"""A chat of several turns: every question sees the answers before it, and only it is computed.

python examples/multi_turn_chat.py
"""

from __future__ import annotations

import sglang_lang as sgl

QUESTIONS = [
    "What do bees make?",
    "How do they make it?",
    "Why should we protect them?",
]


@sgl.function
def chat(s: sgl.ProgramState, questions: list[str]) -> None:
    s += sgl.system("You are a teacher. You answer in one short sentence.")
    for number, question in enumerate(questions):
        s += sgl.user(question)
        s += sgl.assistant(sgl.gen(f"answer_{number}", max_tokens=48, stop=[". ", "\n"]))


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        state = chat.run(QUESTIONS, temperature=0, backend=engine)
    for message in state.messages():
        print(f"{message['role']:>9}: {message['content']}")
    usage = state.usage
    print(f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens were cached")


if __name__ == "__main__":
    main()
