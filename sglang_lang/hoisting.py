"""Finds constant text behind arguments that runs would share if it stood ahead of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .backends.base import BaseBackend, HasBackend
from .background import wait_for
from .graph import Node, ProgramGraph, SglArgument
from .ir import SglConstantText, SglRoleBegin, SglRoleEnd, SglVarScopeBegin, SglVarScopeEnd
from .sgl_function import SglFunction
from .tracer import trace_program

MIN_TEXT = 32  # characters; shorter text is wording around the argument
CHARACTERS_PER_TOKEN = 4  # of English, where no tokenizer is at hand
SHOWN = 40  # characters of a suggestion's text in its message


@dataclass(frozen=True, slots=True)
class Hoist:
    """Constant text that every run would share if it stood ahead of ``arguments``.

    ``tokens`` is how many; ``is_estimate`` where no tokenizer has counted them.
    """

    text: str
    arguments: tuple[str, ...]
    tokens: int
    is_estimate: bool
    line: str

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= SHOWN else self.text[: SHOWN - 3] + "..."
        about = "about " if self.is_estimate else ""
        return (
            f"{self.line}: moving {shown!r} ahead of {', '.join(self.arguments)} would let runs "
            f"share {about}{self.tokens} more tokens; it changes the prompt, so it is left to you"
        )


def suggest_hoists(program: SglFunction, backend: HasBackend | None = None) -> list[Hoist]:
    """See SglFunction.suggest; tokens are counted with the backend's tokenizer where it has one."""
    chosen = backend.as_backend() if backend is not None else None
    return [
        _hoist(text, arguments, chosen)
        for text, arguments in _candidates(trace_program(program, {}))
    ]


def _candidates(graph: ProgramGraph) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Constants behind the first argument, in its own turn and before anything is generated.

    Behind that turn nothing can be shared, whatever is moved there.
    """
    arguments: tuple[str, ...] = ()
    for node in graph.branch(0):
        match node.operation:
            case SglArgument(name):
                if name not in arguments:
                    arguments += (name,)
            case SglConstantText(value):
                if arguments and len(value) >= MIN_TEXT:
                    yield node, arguments
            case SglRoleBegin() | SglRoleEnd():
                if arguments:
                    return
            case SglVarScopeBegin() | SglVarScopeEnd():
                continue
            case _:
                return


def _hoist(node: Node, arguments: tuple[str, ...], backend: BaseBackend | None) -> Hoist:
    counted = wait_for(backend.count_tokens(node.text)) if backend is not None else None
    tokens = counted if counted is not None else -(-len(node.text) // CHARACTERS_PER_TOKEN)
    return Hoist(node.text, arguments, tokens, counted is None, node.line)
