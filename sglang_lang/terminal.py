"""Chat and completion in a terminal: two programs of the language whose output streams."""

from __future__ import annotations

import sys
from typing import Any

from .api import assistant, function, gen, system, user
from .backends.base import HasBackend
from .interpreter import ProgramState

HELP = "/reset forgets the conversation, /quit (or Ctrl-D) ends it"
PROMPT = "\x1b[1myou>\x1b[0m " if sys.stdout.isatty() else "you> "


@function
def converse(
    s: ProgramState, instruction: str | None, turns: list[tuple[str, str]], question: str
) -> None:
    """One more answer after ``turns`` of (question, answer)."""
    if instruction:
        s += system(instruction)
    for asked, answered in turns:
        s += user(asked)
        s += assistant(answered)
    s += user(question)
    s += assistant(gen("answer"))


@function
def complete(s: ProgramState, prompt: str) -> None:
    s += prompt
    s += gen("text")


def chat(backend: HasBackend, instruction: str | None, **options: Any) -> None:
    """Ask, stream the answer, and again, until the input ends.

    Args:
        backend: where the model is.
        instruction: the system turn, if any.
        options: of ``run``, such as ``temperature`` and ``max_new_tokens``.
    """
    turns: list[tuple[str, str]] = []
    print(HELP)
    while True:
        try:
            question = input(PROMPT).strip()
        except EOFError:
            return
        if question == "/quit":
            return
        if question == "/reset":
            turns.clear()
        elif question:
            state = converse.run(
                instruction, list(turns), question, backend=backend, stream=True, **options
            )
            echo(state, "answer")
            turns.append((question, state["answer"]))


def generate(backend: HasBackend, prompt: str, **options: Any) -> None:
    """Stream the continuation of a prompt; ``options`` of ``run``, such as ``regex``."""
    echo(complete.run(prompt, backend=backend, stream=True, **options), "text")


def echo(state: ProgramState, name: str) -> None:
    """Print a variable as it comes."""
    for delta in state.text_iter(name):
        print(delta, end="", flush=True)
    print()
