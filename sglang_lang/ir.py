"""What a program is made of: expressions, and how a generation is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from .choices import ChoicesSamplingMethod, token_length_normalized


class GenOptions(NamedTuple):
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
        if self.is_constrained:  # it takes the place of any other, and of the stops of a dtype
            stop = defaults.stop if defaults.dtype is None else None
            defaults = defaults._replace(stop=stop, **_UNCONSTRAINED)
        pairs = zip(self, defaults, strict=True)
        return GenOptions._make(mine if mine is not None else theirs for mine, theirs in pairs)

    @property
    def is_constrained(self) -> bool:
        """Whether the output has a form that it must have."""
        return _constraints(self) != _NO_CONSTRAINTS

    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else list(self.stop)


_UNCONSTRAINED: Mapping[str, Any] = dict.fromkeys(
    ("regex", "json_schema", "ebnf", "structural_tag", "dtype")
)
_constraints = attrgetter(*_UNCONSTRAINED)
_NO_CONSTRAINTS = tuple(_UNCONSTRAINED.values())
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

    def parts(self) -> list[SglExpr]:
        return _parts(self.expression)


def as_expression(value: object) -> SglExpr:
    """What ``+=`` takes: text or an expression, or a number, such as a variable with a dtype."""
    if isinstance(value, SglExpr):
        return value
    if isinstance(value, str | int | float):
        return SglConstantText(str(value))
    raise TypeError(
        f"a program can add text and expressions, not {type(value).__name__}: {value!r}"
    )


def _parts(value: object) -> list[SglExpr]:
    expression = as_expression(value)
    if type(expression) is SglExprList:  # isinstance would look into what the tracer passes
        return expression.expressions
    return [expression]
