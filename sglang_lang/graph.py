"""A program as a graph: what it adds, in order, and what each part waits for.

Made by the tracer; read by the passes over it (plan, hoisting) and by people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .ir import (
    SglConstantText,
    SglExpr,
    SglExprList,
    SglGen,
    SglMedia,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSeparateReasoning,
    SglVarScopeBegin,
    SglVarScopeEnd,
)
from .reasoning import thoughts_of


@dataclass(slots=True)
class SglArgument(SglExpr):
    """An argument of the program, whatever its value will be."""

    name: str


@dataclass(slots=True)
class SglValue(SglExpr):
    """The value that an earlier node gives to a variable."""

    node: int
    name: str


@dataclass(frozen=True, slots=True)
class Fork:
    """Branches that go on from here; each is the number of one."""

    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """The end of branches in the one that they were forked from."""

    branches: tuple[int, ...]
    mode: str


@dataclass(frozen=True, slots=True)
class Assign:
    """A variable that the program sets itself; the value may hold SglValue."""

    name: str
    value: Any


Operation: TypeAlias = SglExpr | Fork | Join | Assign


@dataclass(slots=True)
class Node:
    """One thing that the program does.

    Args:
        index: its place in the program's order.
        branch: 0 is the program, others are forks.
        operation: what it does.
        parents: the nodes that it waits for, all of them before it.
        line: of the program.
    """

    index: int
    branch: int
    operation: Operation
    parents: list[int]
    line: str = ""

    @property
    def kind(self) -> str:
        if isinstance(self.operation, SglMedia):
            return self.operation.kind
        return _KINDS[type(self.operation)]

    @property
    def label(self) -> str:
        return _label(self.operation)

    @property
    def text(self) -> str:
        """Of a constant; "" of anything else."""
        return self.operation.value if isinstance(self.operation, SglConstantText) else ""

    @property
    def is_generated(self) -> bool:
        """Whether a model is asked for it."""
        return isinstance(self.operation, SglGen | SglSelect | SglSeparateReasoning)

    def __str__(self) -> str:
        return f"{self.kind} {self.label}".rstrip()


@dataclass(slots=True)
class ProgramGraph:
    """What a program adds, in order; a fork branches and a join meets again.

    ``is_complete`` is False where the program's flow depends on what is not known without running
    it, which ``stopped_by`` names; then only its beginning is known. ``open_arguments`` stand for
    any value.
    """

    name: str
    open_arguments: tuple[str, ...] = ()
    nodes: list[Node] = field(default_factory=list)
    is_complete: bool = True
    stopped_by: str = ""
    result: Any = None  # what the program returns; may hold SglValue

    def stop(self, reason: str) -> None:
        """The rest is not known; the first reason stands."""
        self.stopped_by = self.stopped_by or reason
        self.is_complete = False

    def branch(self, number: int) -> Iterator[Node]:
        """The nodes of one branch, in order."""
        return (node for node in self.nodes if node.branch == number)

    def __str__(self) -> str:
        lines = []
        for node in self.nodes:
            after = ", ".join(f"%{parent}" for parent in node.parents)
            lines.append(f"%{node.index} = {node}" + (f"  after {after}" if after else ""))
        if not self.is_complete:
            lines.append(f"... the rest depends on {self.stopped_by}")
        return "\n".join(lines)

    def print_graph_dfs(self) -> None:
        """Print the nodes, each with those it follows."""
        print(self)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        lines = ["flowchart TD"]
        for node in self.nodes:
            opening, closing = _SHAPES.get(node.kind, ('["', '"]'))
            lines.append(f"    n{node.index}{opening}{_mermaid_text(str(node))}{closing}")
            lines += [f"    n{parent} --> n{node.index}" for parent in node.parents]
        if not self.is_complete:
            lines.append(f'    more["depends on {_mermaid_text(self.stopped_by)}"]')
            if self.nodes:
                lines.append(f"    n{self.nodes[-1].index} -.-> more")
        return "\n".join(lines)


_SHAPES = {
    "gen": ('(["', '"])'),
    "select": ('{{"', '"}}'),
    "argument": ('[/"', '"/]'),
    "fork": ('{"', '"}'),
    "join": ('{"', '"}'),
}


def _mermaid_text(text: str) -> str:
    escapes = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "\n": " "}
    return "".join(escapes.get(letter, letter) for letter in text)


_KINDS: dict[type, str] = {
    SglConstantText: "text",
    SglGen: "gen",
    SglSelect: "select",
    SglSeparateReasoning: "reasoning",
    SglRoleBegin: "begin",
    SglRoleEnd: "end",
    SglVarScopeBegin: "scope",
    SglVarScopeEnd: "end scope",
    SglArgument: "argument",
    SglValue: "value",
    Fork: "fork",
    Join: "join",
    Assign: "set",
}


def _label(operation: Operation) -> str:
    match operation:
        case SglConstantText():
            return repr(operation.value)
        case SglSelect():
            return f"{operation.name or ''} {operation.choices}".lstrip()
        case SglSeparateReasoning():
            return ", ".join(generated_names(operation.expression))
        case SglRoleBegin() | SglRoleEnd():
            return operation.role
        case SglMedia():
            return "" if isinstance(operation.source, bytes) else operation.source
        case Fork():
            return str(len(operation.branches))
        case Join():
            return operation.mode
        case _:
            return getattr(operation, "name", None) or ""


def generated_names(expression: SglExpr) -> list[str]:
    """The variables that an expression sets once it has run."""
    match expression:
        case SglExprList():
            return [name for part in expression for name in generated_names(part)]
        case SglSeparateReasoning():
            names = generated_names(expression.expression)
            return [*names, *map(thoughts_of, names)]
        case SglGen() | SglSelect() | SglVarScopeEnd():
            return [expression.name] if expression.name else []
        case _:
            return []
