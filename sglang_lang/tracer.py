"""Runs a program without a model: what it adds becomes a graph.

Values that are not known yet are placeholders, which may be added to text but not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from .graph import Assign, Fork, Join, Node, Operation, ProgramGraph, SglArgument, SglValue
from .graph import generated_names as names_of
from .ir import (
    SglConstantText,
    SglExpr,
    SglExprList,
    SglRoleBegin,
    SglRoleEnd,
    SglVarScopeBegin,
    SglVarScopeEnd,
    as_expression,
)
from .place import program_line
from .sgl_function import SglFunction

MAX_NODES = 10_000
_MARK = re.compile("\x02([^\x02\x03]+)\x03")  # of an argument inside of an f-string
_PLAIN = (str, int, float, bool, type(None))


class StopTracing(BaseException):
    """The program looks at a value that is not known without running it.

    No Exception, so that a program's own ``except Exception`` lets it through.
    """


class Placeholder(SglExpr):
    """A value that is not known: it may be added to a program, and to text, but not looked at."""

    __slots__ = ("_graph", "_what", "expression")

    def __init__(self, graph: ProgramGraph, expression: SglExpr, what: str) -> None:
        self._graph = graph
        self._what = what
        self.expression = expression

    def _looked_at(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._graph.stop(self._what)
        raise StopTracing(self._what)

    def __format__(self, spec: str) -> str:
        self._looked_at()

    __str__ = __repr__ = __bool__ = __iter__ = __len__ = __getitem__ = _looked_at
    __int__ = __float__ = __index__ = __contains__ = __getattr__ = __call__ = _looked_at
    __lt__ = __gt__ = __le__ = __ge__ = __eq__ = __ne__ = __hash__ = _looked_at
    __mul__ = __rmul__ = __mod__ = __sub__ = __truediv__ = _looked_at
    # isinstance(value, str) would be False here and True in the run
    __class__ = property(_looked_at)


class ArgumentPlaceholder(Placeholder):
    """An f-string may hold an argument: the text is taken apart again where it is added."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        assert type(self.expression) is SglArgument
        return f"\x02{self.expression.name}\x03"


class TracerState:
    """The ``s`` of a program that is traced.

    Args:
        graph: what is added comes here.
        branch: the number of this state's branch.
        counter: gives the numbers of branches.
        last: the nodes that the next one follows.
        sources: for each variable the node that sets it.
    """

    def __init__(
        self,
        graph: ProgramGraph,
        branch: int,
        counter: Iterator[int],
        last: Sequence[int] = (),
        sources: dict[str, int] | None = None,
    ) -> None:
        self._graph = graph
        self._branch = branch
        self._counter = counter
        self._last = list(last)
        self._sources = dict(sources or {})

    def __iadd__(self, other: Any) -> TracerState:
        if other is None:
            raise ValueError("None was added to the program; a function without a return?")
        self._add(as_expression(other))
        return self

    def __getitem__(self, name: str) -> Any:
        if name not in self._sources:
            self._stop(f"the variable {name!r}, which is not set yet")
        return Placeholder(self._graph, SglValue(self._sources[name], name), f"s[{name!r}]")

    async def aget(self, name: str) -> Any:
        return self[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._assign(name, known(self._graph, value))

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    get_var = __getitem__
    set_var = __setitem__

    def sync(self) -> None:
        """Nothing runs."""

    def __getattr__(self, name: str) -> Any:
        # text(), messages(), text_iter(), ...: all of them look at what is generated
        self._stop(f"s.{name}")

    def _stop(self, reason: str) -> NoReturn:
        self._graph.stop(reason)
        raise StopTracing(reason)

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
        branches = tuple(next(self._counter) for _ in range(size))
        fork = self._node(Fork(branches))
        states = [
            TracerState(self._graph, branch, self._counter, [fork], self._sources)
            for branch in branches
        ]
        return TracerGroup(states, self)

    @contextmanager
    def copy(self) -> Iterator[TracerState]:
        group = self.fork(1)
        yield group[0]
        group.join()

    def _add(self, expression: SglExpr) -> None:
        if type(expression) is SglExprList:
            for part in expression.expressions:
                self._add(part)
        elif type(expression) in (Placeholder, ArgumentPlaceholder):
            self._add(expression.expression)  # type: ignore[attr-defined]
        elif isinstance(expression, SglConstantText):
            for part in _unmarked(expression.value, self._graph.open_arguments):
                self._node(part)
        elif isinstance(expression, SglValue):
            self._node(expression, [expression.node])
        else:
            node = self._node(expression)
            self._sources |= dict.fromkeys(names_of(expression), node)

    def _assign(self, name: str, value: Any) -> None:
        self._sources[name] = self._node(Assign(name, value), sources_of(value))

    def _node(self, operation: Operation, sources: Sequence[int] = ()) -> int:
        if len(self._graph.nodes) >= MAX_NODES:
            self._stop(f"more than {MAX_NODES} nodes")
        parents = sorted({*self._last, *sources})
        node = Node(len(self._graph.nodes), self._branch, operation, parents, program_line())
        self._graph.nodes.append(node)
        self._last = [node.index]
        return node.index


class TracerGroup:
    """The children of a traced fork."""

    def __init__(self, states: list[TracerState], parent: TracerState) -> None:
        self.states = states
        self._parent = parent
        self._known = dict(parent._sources)

    def __iadd__(self, other: Callable[[int], Any] | Sequence[Any] | SglExpr | str) -> TracerGroup:
        parts: Sequence[Any] = [other] * len(self.states)
        if isinstance(other, list | tuple):
            if len(other) != len(self.states):
                raise ValueError(f"{len(other)} parts for {len(self.states)} forks")
            parts = other
        elif not isinstance(other, str | SglExpr) and callable(other):
            parts = [other(i) for i in range(len(self.states))]
        for state, part in zip(self.states, parts, strict=True):
            state += part
        return self

    def __getitem__(self, index: int) -> TracerState:
        return self.states[index]

    def __setitem__(self, index: int, state: TracerState) -> None:
        """For ``forks[i] += ...``, which gives back the same state."""
        if state is not self.states[index]:
            raise TypeError("a fork cannot be replaced, only added to")

    def __iter__(self) -> Iterator[TracerState]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def join(self, mode: str = "gather_variable", on_error: str = "raise") -> None:
        if on_error != "raise":
            self._parent._stop("which forks fail")
        ends = [index for state in self.states for index in state._last]
        branches = tuple(state._branch for state in self.states)
        join = self._parent._node(Join(branches, mode), ends)
        if mode == "gather_variable":
            for state in self.states:
                for name, source in state._sources.items():
                    if source != self._known.get(name):
                        self._parent._sources[name] = join


def trace_program(program: SglFunction, kwargs: dict[str, Any]) -> ProgramGraph:
    """The graph of a program; arguments that are not given stand for any value."""
    given = {**program.bound, **kwargs}
    graph = ProgramGraph(program.name, tuple(set(program.arg_names) - given.keys()))
    arguments = {
        name: ArgumentPlaceholder(graph, SglArgument(name), f"the argument {name}")
        for name in graph.open_arguments
    }
    return _traced(program, graph, (), {**arguments, **given})


def trace_run(program: SglFunction, args: Sequence[Any], kwargs: dict[str, Any]) -> ProgramGraph:
    """The graph of one run, whose arguments are all given."""
    graph = ProgramGraph(program.name)
    return _traced(program, graph, args, {**program.bound, **kwargs})


def _traced(
    program: SglFunction, graph: ProgramGraph, args: Sequence[Any], kwargs: dict[str, Any]
) -> ProgramGraph:
    state = TracerState(graph, 0, iter(range(1, MAX_NODES + 1)))
    try:
        result = program.func(state, *args, **kwargs)
        if program.is_async:
            result = _result_of(result, graph)
        graph.result = known(graph, result)
    except StopTracing as stop:
        graph.stop(str(stop))
    except Exception as error:
        # It may come of a placeholder (int(s["x"]) and the like); a run would tell.
        graph.stop(f"what ends in {type(error).__name__}: {error}")
    return graph


def _result_of(body: Coroutine[Any, Any, Any], graph: ProgramGraph) -> Any:
    """What an async program returns, if it waits for nothing but its variables."""
    try:
        body.send(None)
    except StopIteration as end:
        return end.value
    body.close()
    graph.stop("something that is awaited")
    return None


def known(graph: ProgramGraph, value: Any) -> Any:
    """A value with its placeholders as SglValue; what cannot be looked into ends the trace."""
    if type(value) in _PLAIN:
        return value
    if type(value) is Placeholder:
        return value.expression
    if type(value) in (list, tuple):
        return type(value)(known(graph, item) for item in value)
    if type(value) is dict:
        return {key: known(graph, item) for key, item in value.items()}
    graph.stop(f"a {type(value).__name__}, which may hold what is not known")
    raise StopTracing


def sources_of(value: Any) -> list[int]:
    """The nodes that the SglValues in a value come from."""
    if isinstance(value, SglValue):
        return [value.node]
    if isinstance(value, list | tuple):
        return [source for item in value for source in sources_of(item)]
    if isinstance(value, dict):
        return [source for item in value.values() for source in sources_of(item)]
    return []


def _unmarked(text: str, arguments: Sequence[str]) -> list[SglExpr]:
    """A text's constants, and the arguments that f-strings have put between them."""
    parts: list[SglExpr] = []
    for i, part in enumerate(_MARK.split(text) if arguments else [text]):
        if i % 2:
            parts.append(SglArgument(part))
        elif part:
            parts.append(SglConstantText(part))
    return parts
