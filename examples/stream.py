"""Streaming: the program runs in the background while its text is read as it is generated.

python examples/stream.py
"""

from __future__ import annotations

import sglang_lang as sgl


@sgl.function
def lesson(s: sgl.ProgramState, topic: str) -> None:
    s += sgl.system("You are a teacher. You answer in one or two sentences.")
    s += sgl.user(f"What is {topic}?")
    s += sgl.assistant(sgl.gen("what", max_tokens=60))
    s += sgl.user("Why is it important?")
    s += sgl.assistant(sgl.gen("why", max_tokens=60))


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        state = lesson.run("photosynthesis", temperature=0, backend=engine, stream=True)
        for title in ("what", "why"):
            print(f"{title}: ", end="")
            for piece in state.text_iter(title):
                print(piece, end="", flush=True)
            print()


if __name__ == "__main__":
    main()
