"""The ``s`` of a program: what is added to it runs; what is read from it waits for its value."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .background import result_of, spawn, wait_for, watch
from .errors import ProgramError
from .executor import StreamExecutor
from .ir import (
    SglExpr,
    SglRoleBegin,
    SglRoleEnd,
    SglVarScopeBegin,
    SglVarScopeEnd,
    as_expression,
)
from .objects import parse_object
from .origins import Span
from .show import as_html, print_text, program_spans
from .state_group import ProgramStateGroup
from .variables import Usage


class ProgramState:
    """The ``s`` of a program."""

    def __init__(self, executor: StreamExecutor) -> None:
        self.stream_executor = executor
        self.ret_value: Any = None

    def __repr__(self) -> str:
        """The text as far as it is known; waits for nothing."""
        return f"ProgramState({self.stream_executor.transcript.shown!r})"

    # ------------------------------------------------------------------ writing

    def __iadd__(self, other: SglExpr | str) -> ProgramState:
        if other is None:
            raise ValueError("None was added to the program; a function without a return?")
        self.stream_executor.submit(as_expression(other))
        return self

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_var(name, value)

    def set_var(self, name: str, value: Any) -> None:
        self.stream_executor.set_variable(name, value)

    @contextmanager
    def var_scope(self, name: str) -> Iterator[None]:
        """The variable ``name`` is the text that is added inside."""
        self.stream_executor.submit(SglVarScopeBegin(name))
        yield
        self.stream_executor.submit(SglVarScopeEnd(name))

    def system(self, expr: SglExpr | str | None = None) -> Any:
        return self._turn("system", expr)

    def user(self, expr: SglExpr | str | None = None) -> Any:
        return self._turn("user", expr)

    def assistant(self, expr: SglExpr | str | None = None) -> Any:
        return self._turn("assistant", expr)

    def _turn(self, role: str, expr: SglExpr | str | None) -> Any:
        """``with s.user():`` around what the turn says, or ``s.user(text)``."""
        if expr is None:
            return self._open_turn(role)
        self.stream_executor.submit(SglRoleBegin(role) + as_expression(expr) + SglRoleEnd(role))
        return self

    @contextmanager
    def _open_turn(self, role: str) -> Iterator[None]:
        self.stream_executor.submit(SglRoleBegin(role))
        yield
        self.stream_executor.submit(SglRoleEnd(role))

    # ------------------------------------------------------------------ reading

    def __getitem__(self, name: str) -> Any:
        return self.get_var(name)

    def __contains__(self, name: str) -> bool:
        return name in self.stream_executor.variables

    def get_var(self, name: str) -> Any:
        """The variable's value; waits until it is known.

        Raises:
            UnknownVariableError: the program has no such variable.
            ProgramError: the program failed before it was known.
        """
        self._await_declared(name)
        return result_of(self.stream_executor.promises.variable(name).value)

    def _await_declared(self, name: str) -> None:
        """A stream's body may not have come to the variable yet; its own thread cannot wait."""
        if self._body_runs_elsewhere():
            for _ in self.stream_executor.changes.follow(self._declared(name)):
                continue

    def _body_runs_elsewhere(self) -> bool:
        return self.stream_executor.body_thread not in (None, threading.get_ident())

    def _declared(self, name: str) -> Callable[[], tuple[str, bool]]:
        executor = self.stream_executor
        return lambda: (
            "",
            name in executor.variables or executor.ended or executor.error is not None,
        )

    async def aget(self, name: str) -> Any:
        """``get_var`` without blocking the event loop, for async programs."""
        if self._body_runs_elsewhere():
            async for _ in self.stream_executor.changes.afollow(self._declared(name)):
                continue
        return await watch(self.stream_executor.promises.variable(name).value)

    def get_meta_info(self, name: str) -> Any:
        """What the backend told about the variable: token counts, logprobs, finish reason."""
        self.get_var(name)
        return self.stream_executor.promises.variable(name).meta_info

    def get_object(self, name: str, kind: type | None = None) -> Any:
        """The variable's JSON as a Python value, or as a pydantic model or dataclass."""
        return parse_object(self.get_var(name), kind)

    def text(self) -> str:
        """The whole text so far, once it is generated."""
        executor = self.stream_executor
        executor.sync()
        return wait_for(executor.transcript.render())

    async def atext(self) -> str:
        """``text`` without blocking the event loop."""
        executor = self.stream_executor
        await watch(executor.mark())
        return await watch(spawn(executor.transcript.render()))

    def show(self) -> None:
        """Print the text so far, coloured by where each part is from."""
        print_text(self._spans(), self.usage)

    def _repr_html_(self) -> str:
        """``show`` for notebooks."""
        return as_html(self._spans(), self.usage)

    def _spans(self) -> list[Span]:
        executor = self.stream_executor
        executor.mark().exception()  # a program that has failed shows how far it came
        return wait_for(program_spans(executor.transcript, executor.backend))

    def messages(self) -> list[dict[str, Any]]:
        """The finished turns."""
        self.stream_executor.sync()
        return list(self.stream_executor.transcript.messages)

    def sync(self) -> None:
        """Wait until everything added so far is done."""
        self.stream_executor.sync()

    def error(self) -> ProgramError | None:
        """What the program failed with, None if it did not."""
        self.stream_executor.mark().exception()
        return self.stream_executor.error

    def end(self) -> None:
        self.stream_executor.end()

    def cancel(self) -> None:
        """Stop at once, a stream say that nobody reads any more; its requests are aborted."""
        self.stream_executor.cancel()

    @property
    def usage(self) -> Usage:
        """Calls and tokens of this run so far, with those of its forks."""
        total = Usage()
        for member in self.stream_executor.family():
            total.add(member.usage)
        return total

    @property
    def variables(self) -> dict[str, Any]:
        """All variables; waits for those that are on their way."""
        return {name: self.get_var(name) for name in list(self.stream_executor.variables)}

    # ------------------------------------------------------------------ streaming

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """The text, or one variable's, in pieces as they come; at once if nothing streams."""
        if var_name is None and not self.stream_executor.stream:
            yield self.text()
            return
        told = 0
        for text in self.stream_executor.changes.follow(self._snapshot(var_name)):
            if len(text) > told:
                yield text[told:]
                told = len(text)

    async def text_async_iter(
        self, var_name: str | None = None, return_meta_data: bool = False
    ) -> AsyncIterator[Any]:
        """``text_iter`` on the running event loop; pairs (text, meta_info) if asked."""
        if var_name is None and not self.stream_executor.stream:
            whole = await asyncio.to_thread(self.text)
            yield (whole, {}) if return_meta_data else whole
            return
        told = 0
        async for text in self.stream_executor.changes.afollow(self._snapshot(var_name)):
            if len(text) > told:
                piece, told = text[told:], len(text)
                if return_meta_data:
                    variable = self.stream_executor.variables.get(var_name or "")
                    yield piece, variable.meta_info if variable else {}
                else:
                    yield piece

    def _snapshot(self, name: str | None) -> Callable[[], tuple[str, bool]]:
        """Gives the text so far, and whether it is all; raises when the program has failed."""
        executor = self.stream_executor

        def snapshot() -> tuple[str, bool]:
            done = executor.is_done
            if executor.error is not None:
                raise executor.error
            if name is None:
                return executor.transcript.shown, done
            variable = executor.variables.get(name)
            if variable is None:
                if done:
                    executor.promises.variable(name)  # raises: it never came
                return "", False
            if variable.value.done():
                value = variable.value.result()
                return value if isinstance(value, str) else str(value), True
            return variable.partial, False

        return snapshot

    # ------------------------------------------------------------------ forks

    def fork(
        self, size: int = 1, position_ids_offset: list[int] | None = None
    ) -> ProgramStateGroup:
        """``size`` programs that go on from here, at the same time.

        ``position_ids_offset`` is accepted for programs written for SGLang, whose backends do
        not use it either.

        Raises:
            ValueError: there is nothing to fork.
        """
        _check_size(size)
        self.stream_executor.sync()
        return self._forked(size)

    async def afork(self, size: int = 1) -> ProgramStateGroup:
        """``fork`` without blocking the event loop."""
        _check_size(size)
        await watch(self.stream_executor.mark())
        return self._forked(size)

    def _forked(self, size: int) -> ProgramStateGroup:
        executor = self.stream_executor
        if size > 1 and executor.transcript.shown:
            spawn(self._warm())
        children = executor.forked(size)
        return ProgramStateGroup([ProgramState(child) for child in children], self)

    async def _warm(self) -> None:
        """The children's shared prefix is computed once, while they start."""
        executor = self.stream_executor
        try:
            await executor.backend.warm(await executor.transcript.prompt())
        except Exception:
            return  # a hint only: the children's own requests will tell what is wrong

    @contextmanager
    def copy(self) -> Iterator[ProgramState]:
        """A fork of one that ends with the block."""
        group = self.fork(1)
        try:
            yield group[0]
        finally:
            group.join()


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"fork needs a size of at least 1, got {size}")
