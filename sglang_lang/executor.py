"""Runs a program: its expressions one after another, on the background loop.

The program's Python code runs ahead and only waits where it reads. A program ends once: every
reader then gets its value or the error, so none can wait for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from .backends.base import BaseBackend, Completion, Prompt
from .backends.hosted import HostedBackend
from .background import background_loop, result_of, spawn
from .changes import Changes
from .config import global_config
from .errors import ProgramError
from .inbox import Inbox
from .ir import (
    GenOptions,
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
from .options import convert
from .origins import Call, SglWritten
from .place import failure, program_line
from .promises import Promises
from .reasoning import Marks, marks_of, split_reasoning, thoughts_of
from .speculation import Speculation
from .transcript import Transcript
from .variables import Usage, Variable


class StreamExecutor:
    """The expressions of one program and what came of them.

    Args:
        backend: where it generates.
        options: defaults for every ``gen``.
        stream: let text and variables grow while they are generated.
        transcript: the text to start from.
        variables: known from the start.
        num_api_spec_tokens: how far a hosted model may write ahead; None for not. Streams and
            runtimes of our own, which share prefixes anyway, do without.
    """

    def __init__(
        self,
        backend: BaseBackend,
        options: GenOptions,
        stream: bool = False,
        transcript: Transcript | None = None,
        variables: dict[str, Variable] | None = None,
        num_api_spec_tokens: int | None = None,
    ) -> None:
        self.backend = backend
        self.options = options
        self.stream = stream
        self.transcript = transcript or Transcript(backend)
        self.promises = Promises(variables or {})
        self.usage = Usage()
        self.num_api_spec_tokens = num_api_spec_tokens
        self._speculation: Speculation | None = None
        if num_api_spec_tokens and isinstance(backend, HostedBackend) and not stream:
            self._speculation = Speculation(backend, num_api_spec_tokens, self.usage.count)
        self.changes = Changes()
        self.children: list[StreamExecutor] = []  # forks that are not joined yet
        self.ended = False
        self.finished: float | None = None  # by time.perf_counter, when all was done
        self.body_thread: int | None = None  # of a stream, where the program's Python code runs
        self._scopes: dict[str, int] = {}
        self._inbox: Inbox[tuple[SglExpr | Future[None] | None, str]] = Inbox(background_loop())
        self._task = spawn(self._work())

    @property
    def variables(self) -> dict[str, Variable]:
        return self.promises.variables

    @property
    def error(self) -> ProgramError | None:
        return self.promises.error

    @property
    def is_done(self) -> bool:
        return self.ended and not self.promises.is_waited_for

    # ------------------------------------------------------------------ from the program

    def submit(self, expression: SglExpr) -> None:
        """Queue an expression; its variable exists from now on."""
        if isinstance(expression, SglExprList):
            for part in expression:
                self.submit(part)
            return
        with self.promises:
            if self.ended:
                raise ProgramError("the program has ended; nothing can be added to it")
            self.declare(expression)
            self._inbox.put((expression, program_line()))

    def mark(self) -> Future[None]:
        """Done when everything submitted so far is."""
        mark, waits = self.promises.mark()
        if waits:
            self._inbox.put((mark, ""))
        return mark

    def sync(self) -> None:
        """Wait for everything submitted so far; raises what failed."""
        result_of(self.mark())

    def end(self) -> None:
        """Finish what is submitted, here and in the forks, then take nothing more."""
        if not self.ended:
            mark = self.mark()
            self.close()
            mark.exception()
            self.changes.notify()
        for child in self.children:
            child.end()

    def close(self) -> None:
        """Take nothing more; waits for nothing."""
        self.ended = True
        self._inbox.put((None, ""))

    def cancel(self) -> None:
        """Stop at once, with the forks; requests on the way are aborted."""
        for member in self.family():
            member.fail(ProgramError("the program was cancelled"))
            member._task.cancel()

    def forked(self, size: int) -> list[StreamExecutor]:
        """Programs that go on from what this one has done so far."""
        children = [
            StreamExecutor(
                self.backend,
                self.options,
                self.stream,
                self.transcript.copy(),
                dict(self.variables),
                self.num_api_spec_tokens,
            )
            for _ in range(size)
        ]
        self.children += children
        if global_config.timeline is not None:
            global_config.timeline.forks(self, children)
        return children

    def absorb(self, child: StreamExecutor) -> None:
        """A fork has ended and is joined; what it cost is this program's cost."""
        self.children.remove(child)
        for member in child.family():
            self.usage.add(member.usage)

    def family(self) -> Iterator[StreamExecutor]:
        """This program and its forks that are not joined, and theirs."""
        yield self
        for child in list(self.children):
            yield from child.family()

    def set_variable(self, name: str, value: Any) -> None:
        """A value that the program sets itself."""
        self.promises.assign(name, value)
        self.changes.notify()

    def declare(self, expression: SglExpr) -> None:
        """The expression's variables exist from now on, without a value yet."""
        if isinstance(expression, SglSeparateReasoning):
            for part in expression.parts():
                self.declare(part)
                if isinstance(part, SglGen | SglSelect) and part.name:
                    self.promises.declare(thoughts_of(part.name))
        elif isinstance(expression, SglGen | SglSelect | SglVarScopeBegin) and expression.name:
            self.promises.declare(expression.name)

    # ------------------------------------------------------------------ on the loop

    async def _work(self) -> None:
        line = ""
        try:
            while True:
                item, line = await self._inbox.get()
                if item is None:
                    return
                if isinstance(item, Future):
                    self.promises.reach(item)
                    continue
                await self.execute(item)
                if self.stream:
                    await self.transcript.render()
                self.changes.notify()
        except asyncio.CancelledError:
            self.fail(ProgramError("the program was cancelled"))
            raise
        except Exception as error:
            self.fail(failure(error, line))
        finally:
            self.finished = time.perf_counter()
            self.promises.finish()

    def fail(self, error: ProgramError) -> None:
        """End with an error, which every reader gets; the first one stands."""
        self.promises.fail(error)
        self.changes.notify()

    async def execute(self, expression: SglExpr) -> None:
        """Do one thing of the program, now."""
        transcript = self.transcript
        if self._speculation is not None:
            self._speculation.follow(expression)
        match expression:
            case SglWritten():
                await transcript.add(expression.value, expression.call)
            case SglConstantText():
                await transcript.add(expression.value)
            case SglGen():
                await self._generate(expression)
            case SglSelect():
                await self._select(expression)
            case SglRoleBegin():
                transcript.begin(expression.role)
            case SglRoleEnd():
                transcript.end(expression.role)
            case SglMedia():
                transcript.show(await self.backend.media(expression))
            case SglVarScopeBegin():
                self._scopes[expression.name] = len(await transcript.render())
            case SglVarScopeEnd():
                start = self._scopes.pop(expression.name)
                self._keep(expression.name, (await transcript.render())[start:])
            case SglSeparateReasoning():
                await self._separate(expression)
            case _:
                raise TypeError(f"a program cannot run {expression!r}")

    @property
    def writes_ahead(self) -> bool:
        """Whether one generation may serve those after it."""
        return self._speculation is not None

    def options_of(self, expression: SglGen) -> GenOptions:
        return expression.options.over(self.options)

    async def _generate(self, expression: SglGen, marks: Marks | None = None) -> None:
        """The text goes to the transcript; with ``marks`` only the answer behind the thoughts."""
        options = self.options_of(expression)
        is_followed = self.stream and (options.n or 1) == 1
        prompt = await self.transcript.prompt(rendered=is_followed)
        call = Call("generated", expression.name, len(prompt.text), prompt.is_chat)
        if is_followed:
            marks = marks and marks.behind(prompt.text)
            completions = [await self._follow(prompt, options, call, marks)]
        else:
            completions = await self._ask(prompt, options)
            self.transcript.opened(completions[0].opening)
            call.prompt_length = len(self.transcript.shown)
            marks = marks and marks.behind(self.transcript.shown)
            call.answered(completions[0].meta_info)
            await self.transcript.add(split_reasoning(completions[0].text, marks).answer, call)
        if marks is not None:  # they are places in the whole text, of which a part is shown
            call.meta_info = {**call.meta_info, "forced_spans": ()}
        self.take(expression.name, options.dtype, completions, marks)

    def take(
        self,
        name: str | None,
        dtype: type | None,
        completions: Sequence[Completion],
        marks: Marks | None = None,
    ) -> None:
        """Count what was generated, and give it to the variable ``name``, as a ``dtype``."""
        for completion in completions:
            self.usage.count(completion.meta_info)
        parted = [split_reasoning(completion.text, marks) for completion in completions]
        values = [convert(answer, dtype) for _, answer in parted]
        metas = [completion.meta_info for completion in completions]
        self._keep(name, _one_or_all(values), _one_or_all(metas))
        if marks is not None and name is not None:
            told = [meta.get("reasoning_content", "") for meta in metas]  # apart, by a hosted API
            thoughts = [one or other for (one, _), other in zip(parted, told, strict=True)]
            self._keep(thoughts_of(name), _one_or_all(thoughts))

    def _keep(self, name: str | None, value: Any, meta_info: Any = None) -> None:
        if name is not None:
            self.promises.keep(name, value, meta_info)
            self.changes.notify()

    async def _ask(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        if self._speculation is not None:
            foreseen = await self._speculation.generate(prompt, options)
            if foreseen is not None:
                return [foreseen]
        return await self.backend.generate(prompt, options)

    async def _follow(
        self, prompt: Prompt, options: GenOptions, call: Call, marks: Marks | None
    ) -> Completion:
        """What is generated, as far as it is known for sure, becomes visible as it comes."""
        whole, told = Completion(""), 0
        answer = self.promises.owed(call.name)
        thoughts = self.promises.owed(thoughts_of(call.name) if marks and call.name else None)
        async for piece in self.backend.generate_stream(prompt, options):
            whole.text += piece.text
            whole.meta_info = answer.meta_info = piece.meta_info
            thoughts.partial, answer.partial = split_reasoning(whole.text, marks, is_whole=False)
            call.answered(piece.meta_info)
            await self.transcript.add(answer.partial[told:], call)
            told = len(answer.partial)
            self.changes.notify()
        await self.transcript.add(split_reasoning(whole.text, marks).answer[told:], call)
        return whole

    async def _select(self, expression: SglSelect) -> None:
        prompt = await self.transcript.prompt()
        call = Call("selected", expression.name, len(prompt.text), prompt.is_chat)
        decision = await self.backend.select(
            prompt, expression.choices, expression.method, expression.temperature
        )
        call.answered(decision.meta_info)
        self.usage.count(decision.meta_info)
        await self.transcript.add(decision.decision, call)
        self._keep(expression.name, decision.decision, decision.meta_info)

    async def _separate(self, expression: SglSeparateReasoning) -> None:
        for part in expression.parts():
            if isinstance(part, SglGen):
                await self._generate(part, marks_of(expression.model_type))
            else:
                await self.execute(part)
            if isinstance(part, SglSelect) and part.name:
                self._keep(thoughts_of(part.name), "")


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
