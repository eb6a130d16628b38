"""Runs a program without a model: what it adds, as a graph, and the text it always begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .ir import (
    SglConstantText,
    SglExpr,
    SglExprList,
    SglFunction,
    SglGen,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSeparateReasoning,
    SglVarScopeBegin,
    SglVarScopeEnd,
    as_expression,
)

MAX_NODES = 10_000


class StopTracing(Exception):
    """The program looks at a value that is not known without running it."""


@dataclass(slots=True)
class Node:
    """One expression of the program; ``parents`` come before it."""

    index: int
    kind: str
    label: str
    parents: list[int]
    text: str = ""  # of constant text

    def __str__(self) -> str:
        return f"{self.kind} {self.label}".rstrip()


@dataclass(slots=True)
class ProgramGraph:
    """What a program adds, in order; a fork branches and a join meets again.

    ``is_complete`` is False where the program's flow depends on what is generated, so only its
    beginning is known.
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    is_complete: bool = True

    def print_graph_dfs(self) -> None:
        """Print the nodes, each with those it follows."""
        for node in self.nodes:
            after = ", ".join(f"%{parent}" for parent in node.parents)
            print(f"%{node.index} = {node}" + (f"  after {after}" if after else ""))
        if not self.is_complete:
            print("... the rest depends on what is generated")

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        lines = ["flowchart TD"]
        for node in self.nodes:
            text = str(node).replace('"', "'").replace("\n", " ")
            lines.append(f'    n{node.index}["{text}"]')
            lines += [f"    n{parent} --> n{node.index}" for parent in node.parents]
        if not self.is_complete:
            lines.append('    more["depends on what is generated"]')
            if self.nodes:
                lines.append(f"    n{self.nodes[-1].index} -.-> more")
        return "\n".join(lines)


class TracedValue(SglExpr):
    """A variable's value: it may be added to a program, and to text, but not looked at."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __add__(self, other: Any) -> SglExprList:
        return SglExprList([self, *_items(other)])

    def __radd__(self, other: Any) -> SglExprList:
        return SglExprList([*_items(other), self])

    def _looked_at(self, *args: Any) -> Any:
        raise StopTracing(self.name)

    __str__ = __format__ = __bool__ = __iter__ = __len__ = __getitem__ = _looked_at
    __int__ = __float__ = __contains__ = __lt__ = __gt__ = __le__ = __ge__ = _looked_at
    __eq__ = __ne__ = __hash__ = _looked_at


def _items(value: Any) -> list[SglExpr]:
    expression = value if isinstance(value, SglExpr) else as_expression(value)
    return expression.expressions if isinstance(expression, SglExprList) else [expression]


class TracerState:
    """The ``s`` of a program that is traced."""

    def __init__(self, graph: ProgramGraph, last: int | None = None) -> None:
        self._graph = graph
        self._last: list[int] = [] if last is None else [last]

    def __iadd__(self, other: Any) -> TracerState:
        self._add(other if isinstance(other, SglExpr) else as_expression(other))
        return self

    def __getitem__(self, name: str) -> TracedValue:
        return TracedValue(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._node("set", name)

    get_var = __getitem__
    set_var = __setitem__

    def __getattr__(self, name: str) -> Any:
        # text(), messages(), text_iter(), ...: all of them look at what is generated
        raise StopTracing(name)

    @contextmanager
    def var_scope(self, name: str) -> Iterator[None]:
        self._add(SglVarScopeBegin(name))
        yield
        self._add(SglVarScopeEnd(name))

    def system(self, expr: Any = None) -> Any:
        return self._turn("system", expr)

    def user(self, expr: Any = None) -> Any:
        return self._turn("user", expr)

    def assistant(self, expr: Any = None) -> Any:
        return self._turn("assistant", expr)

    def _turn(self, role: str, expr: Any) -> Any:
        if expr is None:
            return self._open_turn(role)
        self._add(SglRoleBegin(role) + expr + SglRoleEnd(role))
        return self

    @contextmanager
    def _open_turn(self, role: str) -> Iterator[None]:
        self._add(SglRoleBegin(role))
        yield
        self._add(SglRoleEnd(role))

    def fork(self, size: int = 1, position_ids_offset: list[int] | None = None) -> TracerGroup:
        fork = self._node("fork", str(size))
        return TracerGroup([TracerState(self._graph, fork) for _ in range(size)], self)

    def _add(self, expression: SglExpr) -> None:
        if isinstance(expression, SglExprList):
            for part in expression:
                self._add(part)
        elif isinstance(expression, SglSeparateReasoning):
            self._add(expression.expression)
        elif isinstance(expression, SglConstantText):
            self._node("text", repr(expression.value), expression.value)
        else:
            self._node(*_described(expression))

    def _node(self, kind: str, label: str, text: str = "") -> int:
        if len(self._graph.nodes) >= MAX_NODES:
            raise StopTracing("too many nodes")
        node = Node(len(self._graph.nodes), kind, label, self._last, text)
        self._graph.nodes.append(node)
        self._last = [node.index]
        return node.index


def _described(expression: SglExpr) -> tuple[str, str]:
    """Kind and label of a node."""
    match expression:
        case SglGen():
            return "gen", expression.name or ""
        case SglSelect():
            return "select", f"{expression.name or ''} {expression.choices}"
        case SglRoleBegin():
            return "begin", expression.role
        case SglRoleEnd():
            return "end", expression.role
        case SglVarScopeBegin():
            return "scope", expression.name
        case SglVarScopeEnd():
            return "end scope", expression.name
        case TracedValue():
            return "value", expression.name
        case _:
            return type(expression).__name__, ""


class TracerGroup:
    """The children of a traced fork."""

    def __init__(self, states: list[TracerState], parent: TracerState) -> None:
        self.states = states
        self._parent = parent

    def __iadd__(self, other: Callable[[int], Any] | Sequence[Any] | SglExpr | str) -> TracerGroup:
        for i, state in enumerate(self.states):
            if isinstance(other, list | tuple):
                state += other[i]
            elif callable(other):
                state += other(i)
            else:
                state += other
        return self

    def __getitem__(self, index: int) -> TracerState:
        return self.states[index]

    def __iter__(self) -> Iterator[TracerState]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def join(self, mode: str = "gather_variable") -> None:
        ends = [index for state in self.states for index in state._last]
        self._parent._last = sorted(set(ends))
        self._parent._node("join", mode)


def trace_program(program: SglFunction, kwargs: dict[str, Any]) -> ProgramGraph:
    """The graph of a program; arguments that are not given stand for any value."""
    graph = ProgramGraph(program.name)
    arguments: dict[str, Any] = {name: TracedValue(name) for name in program.arg_names}
    arguments |= program.bound | kwargs
    try:
        program.func(TracerState(graph), **arguments)
    except StopTracing:
        graph.is_complete = False
    return graph


def constant_prefix(program: SglFunction) -> str:
    """The plain text that every run of the program begins with, "" if a turn comes first."""
    graph = _trace_quietly(program)
    prefix = ""
    for node in graph.nodes:
        if node.kind != "text":
            break
        prefix += node.text
    return prefix


def _trace_quietly(program: SglFunction) -> ProgramGraph:
    """The graph as far as it goes: an argument that is looked at may break the program."""
    if program.is_async:
        return ProgramGraph(program.name)
    try:
        return trace_program(program, {})
    except Exception:
        return ProgramGraph(program.name, is_complete=False)
