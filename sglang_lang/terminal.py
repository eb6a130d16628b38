"""Chat and completion in a terminal: two programs of the language whose output streams."""

from __future__ import annotations

import sys
from typing import TypedDict

from .api import assistant, function, gen, system, user
from .backends.base import BaseBackend
from .interpreter import ProgramState


class Sampling(TypedDict):
    """The arguments of ``run`` that the command line offers."""

    temperature: float
    max_new_tokens: int


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
def complete(s: ProgramState, prompt: str, regex: str | None, json_schema: str | None) -> None:
    s += prompt
    s += gen("text", regex=regex, json_schema=json_schema)


def chat(backend: BaseBackend, instruction: str | None, sampling: Sampling) -> None:
    """Ask, stream the answer, and again, until the input ends."""
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
                instruction=instruction,
                turns=turns,
                question=question,
                backend=backend,
                stream=True,
                **sampling,
            )
            echo(state, "answer")
            turns.append((question, state["answer"]))


def generate(
    backend: BaseBackend,
    prompt: str,
    sampling: Sampling,
    regex: str | None = None,
    json_schema: str | None = None,
) -> None:
    """Stream the continuation of a prompt, constrained if asked."""
    state = complete.run(
        prompt=prompt,
        regex=regex,
        json_schema=json_schema,
        backend=backend,
        stream=True,
        **sampling,
    )
    echo(state, "text")


def echo(state: ProgramState, name: str) -> None:
    """Print a variable as it comes."""
    for delta in state.text_iter(name):
        print(delta, end="", flush=True)
    print()
