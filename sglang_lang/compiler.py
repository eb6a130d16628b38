"""Runs a program from its graph: wave by wave, the independent generations of each in one call.

A program whose flow depends on what is generated has no whole graph; the interpreter runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .backends.base import HasBackend, Request
from .background import together, wait_for
from .executor import StreamExecutor
from .forks import appended, gathered
from .graph import Assign, Fork, Join, Node, ProgramGraph, SglValue, generated_names
from .interpreter import ProgramState
from .ir import SglExpr, SglGen, as_expression
from .origins import Call
from .place import failure
from .plan import Wave, fork_hints, waves
from .runner import new_state, run_program
from .sgl_function import SglFunction
from .tracer import trace_run


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """A program that runs from its graph, with the results of ``program.run``.

    The body is traced with the run's arguments, without a model. If it looks at something that is
    generated, it is then run by the interpreter, so the body's own effects up to there happen
    twice.
    """

    program: SglFunction

    def run(
        self,
        *args: Any,
        backend: HasBackend | None = None,
        max_new_tokens: int = 128,
        **kwargs: Any,
    ) -> ProgramState:
        """``SglFunction.run`` with its arguments, but for streams."""
        options, arguments = self.program.split(max_new_tokens, {}, kwargs)
        graph = trace_run(self.program, args, arguments)
        if not graph.is_complete:
            return run_program(self.program, args, arguments, options, backend)
        state = new_state(self.program, options, backend, stream=False)
        executor = state.stream_executor
        run = GraphRun(graph, executor)
        try:
            wait_for(run.run())
        except BaseException as error:
            executor.fail(failure(error))
            executor.cancel()
            raise
        executor.end()
        state.ret_value = run.resolved(graph.result)
        return state


class GraphRun:
    """One run of a graph, on the background loop.

    Args:
        graph: complete.
        executor: of the program; those of its forks become its children.
    """

    def __init__(self, graph: ProgramGraph, executor: StreamExecutor) -> None:
        self._graph = graph
        self._branches = {0: executor}
        self._known: dict[int, dict[str, Any]] = {}  # variables of the parent when it was forked
        self._values: dict[tuple[int, str], Any] = {}
        self._hints = {hint.fork for hint in fork_hints(graph)}

    async def run(self) -> None:
        for wave in waves(self._graph):
            for node in wave.steps:
                try:
                    await self._step(node)
                except Exception as error:
                    raise failure(error, node.line) from error
            await self._generate(wave)

    def resolved(self, value: Any) -> Any:
        """A value of the trace, with what was generated."""
        if isinstance(value, SglValue):
            return self._values[value.node, value.name]
        if isinstance(value, list | tuple):
            return type(value)(self.resolved(item) for item in value)
        if isinstance(value, dict):
            return {key: self.resolved(item) for key, item in value.items()}
        return value

    async def _step(self, node: Node) -> None:
        executor = self._branches[node.branch]
        match node.operation:
            case Fork(branches):
                if node.index in self._hints:
                    await executor.backend.warm(await executor.transcript.prompt())
                self._known |= dict.fromkeys(branches, dict(executor.variables))
                children = executor.forked(len(branches))
                self._branches |= zip(branches, children, strict=True)
            case Join():
                await self._join(node.index, node.operation, executor)
            case Assign(name, value):
                executor.set_variable(name, self.resolved(value))
                self._remember(node, [name])
            case SglValue():
                await executor.execute(as_expression(self.resolved(node.operation)))
            case SglExpr():
                executor.declare(node.operation)
                await executor.execute(node.operation)
                self._remember(node, generated_names(node.operation))

    async def _join(self, index: int, join: Join, parent: StreamExecutor) -> None:
        children = [self._branches[branch] for branch in join.branches]
        if join.mode == "gather_variable":
            known = self._known[join.branches[0]]
            for name, values in gathered(known, [child.variables for child in children]).items():
                parent.set_variable(name, values)
                self._values[index, name] = values
        else:
            role = parent.transcript.role
            for part in appended(role, [child.transcript for child in children]):
                await parent.execute(part)
        for child in children:
            for member in child.family():
                member.close()
            parent.absorb(child)

    async def _generate(self, wave: Wave) -> None:
        """What the API takes in one call goes in one; the rest at the same time."""
        batch: list[Node] = []
        alone: list[Node] = []
        for node in wave.generations:
            executor = self._branches[node.branch]
            executor.declare(node.operation)  # type: ignore[arg-type]
            plain = isinstance(node.operation, SglGen) and not executor.writes_ahead
            (batch if plain else alone).append(node)
        works = [self._execute(node) for node in alone]
        if batch:
            works.append(self._execute_batch(batch))
        if works:
            await together(works)
        for node in wave.generations:
            self._remember(node, generated_names(node.operation))  # type: ignore[arg-type]

    async def _execute(self, node: Node) -> None:
        try:
            await self._branches[node.branch].execute(node.operation)  # type: ignore[arg-type]
        except Exception as error:
            raise failure(error, node.line) from error

    async def _execute_batch(self, nodes: list[Node]) -> None:
        executors = [self._branches[node.branch] for node in nodes]
        expressions = [node.operation for node in nodes if isinstance(node.operation, SglGen)]
        try:
            requests = [
                Request(await executor.transcript.prompt(), executor.options_of(expression))
                for executor, expression in zip(executors, expressions, strict=True)
            ]
            calls = [
                Call("generated", expression.name, len(one.prompt.text), one.prompt.is_chat)
                for expression, one in zip(expressions, requests, strict=True)
            ]
            answers = await executors[0].backend.generate_batch(requests)
            for executor, request, call, answer in zip(
                executors, requests, calls, answers, strict=True
            ):
                call.answered(answer[0].meta_info)
                await executor.transcript.add(answer[0].text, call)
                executor.take(call.name, request.options.dtype, answer)
        except Exception as error:
            raise failure(error, "; ".join(dict.fromkeys(node.line for node in nodes))) from error

    def _remember(self, node: Node, names: list[str]) -> None:
        variables = self._branches[node.branch].variables
        for name in names:
            self._values[node.index, name] = variables[name].value.result()
