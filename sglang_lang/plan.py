"""Passes over a program's graph: what is constant, what can run at once, what forks share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .backends.base import BaseBackend, Prompt
from .graph import Fork, Node, ProgramGraph
from .ir import SglConstantText, SglExpr, SglRoleBegin, SglRoleEnd, SglVarScopeBegin, SglVarScopeEnd
from .transcript import Transcript

MIN_SHARED_TEXT = 64  # characters that are worth a request of their own


@dataclass(slots=True)
class Wave:
    """Nodes that need nothing but earlier waves: steps in their order, then all generations.

    No generation of a wave needs another one of it, so they can be one call.
    """

    steps: list[Node] = field(default_factory=list)
    generations: list[Node] = field(default_factory=list)


def waves(graph: ProgramGraph) -> list[Wave]:
    """The whole graph as waves, as few as its dependencies allow."""
    level_of: list[int] = []
    found: list[Wave] = []
    for node in graph.nodes:
        level = 0
        for parent in node.parents:
            level = max(level, level_of[parent] + graph.nodes[parent].is_generated)
        level_of.append(level)
        while len(found) <= level:
            found.append(Wave())
        (found[level].generations if node.is_generated else found[level].steps).append(node)
    return found


@dataclass(frozen=True, slots=True)
class ForkHint:
    """A fork whose branches begin with text that no generation has computed yet.

    ``length`` is that of its constant part, in characters.
    """

    fork: int
    size: int
    length: int


def fork_hints(graph: ProgramGraph) -> list[ForkHint]:
    """The forks before which computing the shared text once saves computing it in each branch."""
    new: dict[int, int] = {0: 0}  # for each branch, the length of what nothing has computed
    hints = []
    for node in graph.nodes:
        if isinstance(node.operation, Fork):
            size, length = len(node.operation.branches), new[node.branch]
            if size > 1 and length >= MIN_SHARED_TEXT:
                hints.append(ForkHint(node.index, size, length))
            new |= dict.fromkeys((node.branch, *node.operation.branches), 0)
        elif node.is_generated:
            new[node.branch] = 0
        else:
            new[node.branch] += len(node.text)
    return hints


def constant_beginning(graph: ProgramGraph) -> Iterator[SglExpr]:
    """What every run of the program begins with: text and turns, up to anything else."""
    for node in graph.branch(0):
        match node.operation:
            case SglConstantText() | SglRoleBegin() | SglRoleEnd():
                yield node.operation
            case SglVarScopeBegin() | SglVarScopeEnd():
                continue
            case _:
                return


async def constant_prompt(graph: ProgramGraph, backend: BaseBackend) -> Prompt:
    """The beginning as this backend's model is shown it, in turns of its own template."""
    transcript = Transcript(backend)
    for expression in constant_beginning(graph):
        match expression:
            case SglConstantText():
                await transcript.add(expression.value)
            case SglRoleBegin():
                transcript.begin(expression.role)
            case SglRoleEnd():
                transcript.end(expression.role)
    return await transcript.prompt()
