"""What a program is made of: expressions, and the function that holds them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .choices import ChoicesSamplingMethod, token_length_normalized

if TYPE_CHECKING:
    from .backends.base import HasBackend
    from .interpreter import ProgramState
    from .tracer import ProgramGraph

INT_REGEX = r"[-+]?[0-9]+[ \n]*"
FLOAT_REGEX = r"[-+]?[0-9]*\.?[0-9]+[ \n]*"
BOOL_REGEX = r"(True|False)"
STR_REGEX = r"\"[\w\d\s]*\""
NUMBER_STOPS = (" ", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenOptions:
    """How one generation samples, stops and is constrained; None leaves it to ``run``.

    ``max_tokens`` and ``min_tokens`` count new tokens; the other names are the runtime's (see
    runtime/sampling_params.py).
    """

    max_tokens: int | None = None
    min_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    stop_regex: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    return_text_in_logprobs: bool | None = None
    regex: str | None = None
    json_schema: str | None = None
    ebnf: str | None = None
    structural_tag: str | None = None
    dtype: type | None = None

    def over(self, defaults: GenOptions) -> GenOptions:
        """These options, with the defaults where they say nothing."""
        own = {f.name: v for f in _OPTION_FIELDS if (v := getattr(self, f.name)) is not None}
        return dataclasses.replace(defaults, **own) if own else defaults

    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else list(self.stop)


_OPTION_FIELDS = dataclasses.fields(GenOptions)
# Arguments of ``gen`` that no keyword of the wire carries as they are.
RUN_DEFAULTS = GenOptions(max_tokens=128, n=1, temperature=1.0, top_p=1.0, min_p=0.0)


# --------------------------------------------------------------------------- expressions


class SglExpr:
    """Something that can be added to a program's state."""

    __slots__ = ()

    def __add__(self, other: SglExpr | str) -> SglExprList:
        return SglExprList([*_parts(self), *_parts(other)])

    def __radd__(self, other: SglExpr | str) -> SglExprList:
        return SglExprList([*_parts(other), *_parts(self)])


@dataclass(slots=True)
class SglExprList(SglExpr):
    expressions: list[SglExpr]

    def __iter__(self) -> Iterator[SglExpr]:
        return iter(self.expressions)


@dataclass(slots=True)
class SglConstantText(SglExpr):
    value: str


@dataclass(slots=True)
class SglGen(SglExpr):
    name: str | None
    options: GenOptions


@dataclass(slots=True)
class SglSelect(SglExpr):
    name: str | None
    choices: list[str]
    temperature: float
    method: ChoicesSamplingMethod = token_length_normalized


@dataclass(slots=True)
class SglRoleBegin(SglExpr):
    role: str


@dataclass(slots=True)
class SglRoleEnd(SglExpr):
    role: str


@dataclass(slots=True)
class SglVarScopeBegin(SglExpr):
    name: str


@dataclass(slots=True)
class SglVarScopeEnd(SglExpr):
    name: str


@dataclass(slots=True)
class SglMedia(SglExpr):
    """An image or a video: a path, a URL, or the bytes of a file."""

    kind: str
    source: str | bytes
    num_frames: int | None = None


@dataclass(slots=True)
class SglSeparateReasoning(SglExpr):
    """Split the thoughts of the reasoning model from the answer of ``expression``."""

    expression: SglExpr
    model_type: str | None


def as_expression(value: object) -> SglExpr:
    """What ``+=`` takes: text or an expression."""
    if isinstance(value, SglExpr):
        return value
    if isinstance(value, str):
        return SglConstantText(value)
    raise TypeError(
        f"a program can add text and expressions, not {type(value).__name__}: {value!r}"
    )


def _parts(value: object) -> list[SglExpr]:
    expression = as_expression(value)
    return expression.expressions if isinstance(expression, SglExprList) else [expression]


# --------------------------------------------------------------------------- gen's arguments


def dtype_options(dtype: type | str) -> GenOptions:
    """The constraint that makes the output spell a value of ``dtype``."""
    kind = (
        {"int": int, "float": float, "bool": bool, "str": str}.get(dtype, None)
        if isinstance(dtype, str)
        else dtype
    )
    if kind is int:
        return GenOptions(regex=INT_REGEX, stop=list(NUMBER_STOPS), dtype=int)
    if kind is float:
        return GenOptions(regex=FLOAT_REGEX, stop=list(NUMBER_STOPS), dtype=float)
    if kind is bool:
        return GenOptions(regex=BOOL_REGEX, dtype=bool)
    if kind is str:
        return GenOptions(regex=STR_REGEX, dtype=str)
    raise ValueError(f"dtype must be int, float, bool or str, got {dtype!r}")


def convert(text: str, dtype: type | None) -> Any:
    """The value of a generated text; strings stay as they are generated."""
    if dtype is int:
        return int(text)
    if dtype is float:
        return float(text)
    if dtype is bool:
        return text == "True"
    return text


def check_regex(pattern: str | None) -> None:
    """ValueError for a pattern that Python cannot compile either."""
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"regex {pattern!r} is not valid: {error}") from error


# --------------------------------------------------------------------------- the function


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
    arg_names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        parameters = list(inspect.signature(self.func).parameters)
        if not parameters or parameters[0] != "s":
            raise TypeError(f"the first parameter of {self.func.__name__} must be named s")
        self.arg_names = parameters[1:]

    @property
    def name(self) -> str:
        return self.func.__name__

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    def bind(self, **kwargs: Any) -> SglFunction:
        """The same program with some arguments fixed."""
        unknown = kwargs.keys() - set(self.arg_names)
        if unknown:
            raise TypeError(f"{self.name} has no argument {sorted(unknown)[0]!r}")
        return SglFunction(self.func, self.num_api_spec_tokens, {**self.bound, **kwargs})

    def run(
        self,
        *args: Any,
        backend: HasBackend | None = None,
        stream: bool = False,
        use_thread: bool = True,
        max_new_tokens: int = 128,
        **kwargs: Any,
    ) -> ProgramState:
        """Run the program once.

        Args:
            args, kwargs: the program's arguments, and defaults for every ``gen`` in it
                (``temperature``, ``stop``, ``top_p``, ... as ``gen`` takes them).
            backend: where it runs; the default backend when None.
            stream: return at once and let ``text_iter`` follow the program.
            use_thread: with ``stream``, run the body in a thread; False runs it first.
            max_new_tokens: default ``max_tokens`` of every ``gen``.

        Raises:
            ProgramError: something in the program failed; it names the program's line.
        """
        from .runner import run_program

        options, arguments = self._split(kwargs)
        options = dataclasses.replace(options, max_tokens=max_new_tokens)
        return run_program(
            self, args, arguments, options, backend, stream=stream, use_thread=use_thread
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

        options, arguments = self._split(kwargs)
        options = dataclasses.replace(options, max_tokens=max_new_tokens)
        return await arun_program(self, args, arguments, options, backend)

    def run_batch(
        self,
        batch_kwargs: Sequence[Mapping[str, Any] | Sequence[Any]],
        *,
        backend: HasBackend | None = None,
        num_threads: int | str = "auto",
        progress_bar: bool = False,
        generator_style: bool = False,
        on_error: str = "raise",
        max_new_tokens: int = 128,
        **kwargs: Any,
    ) -> Any:
        """Run the program once for each item of a batch.

        Args:
            batch_kwargs: a dict of arguments, or a sequence in their order, for each run.
            backend: where they run; the default backend when None.
            num_threads: programs at one time; "auto" suits programs that mostly wait.
            progress_bar: show one.
            generator_style: return an iterator in the batch's order instead of a list.
            on_error: "raise" the first error, or "return" states whose ``error()`` tells.
            max_new_tokens: default ``max_tokens`` of every ``gen``.
            kwargs: defaults for every ``gen``.

        Returns:
            list of ProgramState, or an iterator over them.
        """
        from .runner import run_batch

        options, rest = self._split(kwargs)
        if rest:
            raise TypeError(f"run_batch got an unknown argument {sorted(rest)[0]!r}")
        options = dataclasses.replace(options, max_tokens=max_new_tokens)
        return run_batch(
            self,
            [self._arguments(item) for item in batch_kwargs],
            options,
            backend,
            num_threads=num_threads,
            progress_bar=progress_bar,
            generator_style=generator_style,
            on_error=on_error,
        )

    def trace(self, *, backend: HasBackend | None = None, **kwargs: Any) -> ProgramGraph:
        """The program's graph, found without a model."""
        from .tracer import trace_program

        return trace_program(self, kwargs)

    def cache(self, backend: HasBackend | None = None) -> None:
        """Warm the backend's cache with the text that every run begins with."""
        from .runner import cache_program

        cache_program(self, backend)

    def __call__(self, *args: Any, **kwargs: Any) -> ProgramState:
        return self.run(*args, **kwargs)

    def _arguments(self, item: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
        if isinstance(item, Mapping):
            return dict(item)
        names = [name for name in self.arg_names if name not in self.bound]
        if isinstance(item, str) or len(item) != len(names):
            raise TypeError(f"{self.name} takes {names}, got {item!r}")
        return dict(zip(names, item, strict=True))

    def _split(self, kwargs: dict[str, Any]) -> tuple[GenOptions, dict[str, Any]]:
        """Keyword arguments that are defaults for gen, and those of the program."""
        names = {f.name for f in _OPTION_FIELDS} - set(self.arg_names)
        options = {name: kwargs[name] for name in kwargs.keys() & names}
        rest = {name: value for name, value in kwargs.items() if name not in names}
        if options.get("top_k") == -1:
            options["top_k"] = None
        return GenOptions(**options).over(RUN_DEFAULTS), rest
