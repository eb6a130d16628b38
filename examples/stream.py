"""Streaming: the program runs in the background while its text is read as it is generated.

python examples/stream.py
"""

from __future__ import annotations

import sglang_lang as sgl


@sgl.function
def interview(s: sgl.ProgramState, guest: str) -> None:
    s += sgl.system(f"You are {guest}. Answer in two sentences.")
    s += sgl.user("What are you working on?")
    s += sgl.assistant(sgl.gen("work", max_tokens=48))
    s += sgl.user("And what comes next?")
    s += sgl.assistant(sgl.gen("plans", max_tokens=48))


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        state = interview.run("a marine biologist", backend=engine, stream=True)
        for piece in state.text_iter():
            print(piece, end="", flush=True)
        print()


if __name__ == "__main__":
    main()
