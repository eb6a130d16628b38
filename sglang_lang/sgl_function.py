"""A program as its callers see it: what ``@function`` makes of a Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .ir import RUN_DEFAULTS, GenOptions
from .options import gen_options

if TYPE_CHECKING:
    from .backends.base import HasBackend
    from .compiler import CompiledProgram
    from .graph import ProgramGraph
    from .hoisting import Hoist
    from .interpreter import ProgramState

# What ``run`` names of the defaults for every ``gen``. A value that is the default says nothing.
RUN_OPTIONS: Mapping[str, Any] = {
    "n": 1,
    "stop": None,
    "stop_token_ids": None,
    "stop_regex": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "ignore_eos": False,
    "return_logprob": None,
    "logprob_start_len": None,
    "top_logprobs_num": None,
    "return_text_in_logprobs": None,
}
_OPTION_NAMES = frozenset(GenOptions._fields)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(slots=True)
class SglFunction:
    """A program: a Python function whose first parameter ``s`` is its state.

    Args:
        func: the function.
        num_api_spec_tokens: how far a hosted API may write ahead of the program; None for not.
        bound: arguments fixed by ``bind``.
    """

    func: Callable[..., Any]
    num_api_spec_tokens: int | None = None
    bound: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, inspect.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        parameters = dict(inspect.signature(self.func).parameters)
        if next(iter(parameters), None) != "s":
            raise TypeError(f"the first parameter of {self.func.__name__} must be named s")
        del parameters["s"]
        self.parameters = {
            name: one for name, one in parameters.items() if one.kind not in _VARIADIC
        }

    @property
    def name(self) -> str:
        return self.func.__name__

    @property
    def arg_names(self) -> list[str]:
        return list(self.parameters)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    def bind(self, **kwargs: Any) -> SglFunction:
        """The same program with some arguments fixed."""
        unknown = kwargs.keys() - self.parameters.keys()
        if unknown:
            raise TypeError(f"{self.name} has no argument {sorted(unknown)[0]!r}")
        return SglFunction(self.func, self.num_api_spec_tokens, {**self.bound, **kwargs})

    def run(
        self,
        *args: Any,
        max_new_tokens: int = 128,
        n: int = 1,
        stop: str | list[str] | None = None,
        stop_token_ids: list[int] | None = None,
        stop_regex: str | list[str] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = -1,
        min_p: float = 0.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        ignore_eos: bool = False,
        return_logprob: bool | None = None,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        return_text_in_logprobs: bool | None = None,
        stream: bool = False,
        backend: HasBackend | None = None,
        use_thread: bool = True,
        **kwargs: Any,
    ) -> ProgramState:
        """Run the program once.

        Args:
            args, kwargs: the program's arguments; kwargs also hold defaults for what else ``gen``
                takes, such as ``seed``.
            max_new_tokens: default ``max_tokens`` of every ``gen``. So are the options after it.
            stream: return at once and let ``text_iter`` follow the program.
            backend: where it runs; the default backend when None.
            use_thread: with ``stream``, run the body in a thread; False runs it first.

        Raises:
            ProgramError: something in the program failed; it names the program's line.
        """
        from .runner import run_program

        options, arguments = self.split(max_new_tokens, locals(), kwargs)
        return run_program(
            self, args, arguments, options, backend, stream=stream, use_thread=use_thread
        )

    def run_batch(
        self,
        batch_kwargs: Sequence[Mapping[str, Any] | Sequence[Any]],
        *,
        max_new_tokens: int = 128,
        n: int = 1,
        stop: str | list[str] | None = None,
        stop_token_ids: list[int] | None = None,
        stop_regex: str | list[str] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = -1,
        min_p: float = 0.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        ignore_eos: bool = False,
        return_logprob: bool | None = None,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        return_text_in_logprobs: bool | None = None,
        backend: HasBackend | None = None,
        num_threads: int | str = "auto",
        progress_bar: bool = False,
        generator_style: bool = False,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> Any:
        """Run the program once for each item of a batch; the options are those of ``run``.

        Args:
            batch_kwargs: a dict of arguments, or a sequence in their order, for each run.
            backend: where they run; the default backend when None.
            num_threads: programs at one time; "auto" suits programs that mostly wait.
            progress_bar: show one.
            generator_style: return an iterator in the batch's order instead of a list.
            on_error: "raise" the first error, or "return" states whose ``error()`` tells.
            kwargs: defaults for what else ``gen`` takes.

        Returns:
            list of ProgramState, or an iterator over them.
        """
        from .runner import run_batch

        return run_batch(
            self,
            self._items(batch_kwargs),
            self._batch_options(max_new_tokens, locals(), kwargs),
            backend,
            num_threads=num_threads,
            progress_bar=progress_bar,
            generator_style=generator_style,
            on_error=on_error,
        )

    async def arun(
        self,
        *args: Any,
        backend: HasBackend | None = None,
        max_new_tokens: int = 128,
        **kwargs: Any,
    ) -> ProgramState:
        """``run`` for programs written as ``async def``, or to await a plain one.

        Cancelling it aborts the program's requests.
        """
        from .runner import arun_program

        options, arguments = self.split(max_new_tokens, {}, kwargs)
        return await arun_program(self, args, arguments, options, backend)

    async def arun_batch(
        self,
        batch_kwargs: Sequence[Mapping[str, Any] | Sequence[Any]],
        *,
        backend: HasBackend | None = None,
        num_concurrent: int | str = "auto",
        progress_bar: bool = False,
        on_error: str = "raise",
        max_new_tokens: int = 128,
        **kwargs: Any,
    ) -> list[ProgramState]:
        """``run_batch`` as a coroutine; cancelling it aborts the requests of all runs.

        Args:
            batch_kwargs, backend, progress_bar, on_error, kwargs: as for ``run_batch``.
            num_concurrent: programs at one time.
            max_new_tokens: default ``max_tokens`` of every ``gen``.
        """
        from .runner import arun_batch

        return await arun_batch(
            self,
            self._items(batch_kwargs),
            self._batch_options(max_new_tokens, {}, kwargs),
            backend,
            num_concurrent=num_concurrent,
            progress_bar=progress_bar,
            on_error=on_error,
        )

    def trace(self, *, backend: HasBackend | None = None, **kwargs: Any) -> ProgramGraph:
        """The program's graph, found without a model; ``backend`` is not asked.

        Arguments that are not given stand for any value.
        """
        from .tracer import trace_program

        return trace_program(self, kwargs)

    def compile(self) -> CompiledProgram:
        """The program with its graph executed: independent ``gen`` go out in one call."""
        from .compiler import CompiledProgram

        return CompiledProgram(self)

    def suggest(self, backend: HasBackend | None = None) -> list[Hoist]:
        """Constant text that more runs would share if it stood ahead of the arguments.

        Only told, never done: it would change the prompt.
        """
        from .hoisting import suggest_hoists

        return suggest_hoists(self, backend)

    def cache(self, backend: HasBackend | None = None) -> None:
        """Warm the backend's cache with the text that every run begins with."""
        from .runner import cache_program

        cache_program(self, backend)

    def __call__(self, *args: Any, **kwargs: Any) -> ProgramState:
        return self.run(*args, **kwargs)

    # ------------------------------------------------------------------ arguments

    def split(
        self, max_new_tokens: int, named: Mapping[str, Any], kwargs: Mapping[str, Any]
    ) -> tuple[GenOptions, dict[str, Any]]:
        """Defaults for every ``gen``, and the program's own arguments.

        Args:
            max_new_tokens: the default of ``max_tokens``.
            named: among others the values of RUN_OPTIONS.
            kwargs: what else was given by name; the program's where it has such an argument.
        """
        options = _said(named)
        taken = options.keys() & self.parameters.keys()
        if taken:
            name = sorted(taken)[0]
            raise TypeError(
                f"{name} is an option of run; give the argument of {self.name} by position"
            )
        arguments = dict(kwargs)
        for name in _OPTION_NAMES & kwargs.keys() - self.parameters.keys():
            options[name] = arguments.pop(name)
        return _gen_options(max_new_tokens, options), arguments

    def _batch_options(
        self, max_new_tokens: int, named: Mapping[str, Any], kwargs: Mapping[str, Any]
    ) -> GenOptions:
        """The items hold the program's arguments, so every name is an option."""
        unknown = kwargs.keys() - _OPTION_NAMES
        if unknown:
            raise TypeError(f"run_batch got an unknown argument {sorted(unknown)[0]!r}")
        return _gen_options(max_new_tokens, {**_said(named), **kwargs})

    def _items(self, batch: Sequence[Mapping[str, Any] | Sequence[Any]]) -> list[dict[str, Any]]:
        return [self._arguments(item) for item in batch]

    def _arguments(self, item: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
        if isinstance(item, Mapping):
            return dict(item)
        names = [name for name in self.arg_names if name not in self.bound]
        if not isinstance(item, list | tuple) or len(item) != len(names):
            raise TypeError(f"{self.name} takes {names}, got {item!r}")
        return dict(zip(names, item, strict=True))


def _said(named: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``run`` that are not at their defaults."""
    return {
        name: named[name]
        for name, default in RUN_OPTIONS.items()
        if named.get(name, default) != default
    }


def _gen_options(max_new_tokens: int, options: Mapping[str, Any]) -> GenOptions:
    return gen_options(**options).over(RUN_DEFAULTS._replace(max_tokens=max_new_tokens))
