"""The words of the language: what a program adds to its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from .backends.base import HasBackend
from .choices import ChoicesSamplingMethod, token_length_normalized
from .config import check_backend, global_config
from .ir import (
    SglExpr,
    SglExprList,
    SglGen,
    SglMedia,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSeparateReasoning,
    as_expression,
)
from .options import gen_options
from .reasoning import marks_of
from .sgl_function import SglFunction


@overload
def function(func: Callable[..., Any]) -> SglFunction: ...
@overload
def function(
    *, num_api_spec_tokens: int | None = None
) -> Callable[[Callable[..., Any]], SglFunction]: ...
def function(
    func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None
) -> SglFunction | Callable[[Callable[..., Any]], SglFunction]:
    """Make a program of a Python function whose first parameter is ``s``.

    Args:
        func: the function, when used as a bare decorator.
        num_api_spec_tokens: let a hosted API write this many tokens ahead in one call.
    """
    if func is not None:
        return SglFunction(func, num_api_spec_tokens)
    return lambda func: SglFunction(func, num_api_spec_tokens)


def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    min_tokens: int | None = None,
    n: int | None = None,
    stop: str | list[str] | None = None,
    stop_token_ids: list[int] | None = None,
    stop_regex: str | list[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: type | str | None = None,
    choices: Sequence[str] | None = None,
    choices_method: ChoicesSamplingMethod | None = None,
    regex: str | None = None,
    json_schema: Any = None,
    ebnf: str | None = None,
    structural_tag: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    logit_bias: Mapping[int, float] | None = None,
    repetition_penalty: float | None = None,
) -> SglExpr:
    """Generate text into the variable ``name``.

    What is None is taken from ``run``. ``dtype`` (int, float, bool, str) constrains the output
    and gives the variable a value of that type; ``choices`` makes this a ``select``;
    ``json_schema`` is text, a dict, a pydantic model or a dataclass, ``structural_tag`` text or a
    dict.

    Raises:
        ValueError: an invalid regex, or more than one constraint.
    """
    if choices is not None:
        return select(name, choices, temperature or 0.0, choices_method or token_length_normalized)
    options = gen_options(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        n=n,
        stop=stop,
        stop_token_ids=stop_token_ids,
        stop_regex=stop_regex,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        repetition_penalty=repetition_penalty,
        logit_bias=logit_bias,
        seed=seed,
        ignore_eos=ignore_eos,
        return_logprob=return_logprob,
        logprob_start_len=logprob_start_len,
        top_logprobs_num=top_logprobs_num,
        return_text_in_logprobs=return_text_in_logprobs,
        regex=regex,
        json_schema=json_schema,
        ebnf=ebnf,
        structural_tag=structural_tag,
        dtype=dtype,
    )
    return SglGen(name, options)


def gen_int(
    name: str | None = None,
    max_tokens: int | None = None,
    n: int | None = None,
    stop: str | list[str] | None = None,
    stop_token_ids: list[int] | None = None,
    stop_regex: str | list[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    **options: Any,
) -> SglExpr:
    """``gen`` of an integer; ``options`` are what else it takes."""
    return _typed(int, locals())


def gen_string(
    name: str | None = None,
    max_tokens: int | None = None,
    n: int | None = None,
    stop: str | list[str] | None = None,
    stop_token_ids: list[int] | None = None,
    stop_regex: str | list[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    **options: Any,
) -> SglExpr:
    """``gen`` of a quoted string; ``options`` are what else it takes."""
    return _typed(str, locals())


def _typed(dtype: type, given: dict[str, Any]) -> SglExpr:
    options = given.pop("options")
    return gen(dtype=dtype, **given, **options)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesSamplingMethod = token_length_normalized,
) -> SglSelect:
    """Continue with the one of ``choices`` that the model finds likeliest.

    Raises:
        ValueError: there is nothing to choose from.
    """
    if not choices or isinstance(choices, str) or not all(map(_is_choice, choices)):
        raise ValueError(f"select needs a list of non-empty strings, got {choices!r}")
    return SglSelect(name, list(choices), temperature, choices_method)


def _is_choice(value: object) -> bool:
    return isinstance(value, str) and value != ""


def image(expr: str | bytes) -> SglMedia:
    """An image: a path, a URL or the bytes of a file."""
    return SglMedia("image", expr)


def video(path: str, num_frames: int) -> SglMedia:
    """``num_frames`` frames of a video file."""
    return SglMedia("video", path, num_frames)


def system(expr: SglExpr | str | None = None) -> SglExpr:
    """The system's turn."""
    return _role("system", expr)


def user(expr: SglExpr | str | None = None) -> SglExpr:
    """The user's turn."""
    return _role("user", expr)


def assistant(expr: SglExpr | str | None = None) -> SglExpr:
    """The assistant's turn."""
    return _role("assistant", expr)


def system_begin() -> SglRoleBegin:
    return SglRoleBegin("system")


def system_end() -> SglRoleEnd:
    return SglRoleEnd("system")


def user_begin() -> SglRoleBegin:
    return SglRoleBegin("user")


def user_end() -> SglRoleEnd:
    return SglRoleEnd("user")


def assistant_begin() -> SglRoleBegin:
    return SglRoleBegin("assistant")


def assistant_end() -> SglRoleEnd:
    return SglRoleEnd("assistant")


def _role(role: str, expr: SglExpr | str | None) -> SglExpr:
    if expr is None:
        return SglExprList([SglRoleBegin(role), SglRoleEnd(role)])
    return SglRoleBegin(role) + as_expression(expr) + SglRoleEnd(role)


def separate_reasoning(
    expr: SglExpr | None = None, model_type: str | None = None
) -> SglSeparateReasoning:
    """Keep the model's thoughts out of the text: ``s[name]`` is the answer, and
    ``s[f"{name}_reasoning_content"]`` the thoughts.

    Raises:
        ValueError: there is no expression to separate, or no such model type.
    """
    if expr is None:
        raise ValueError("separate_reasoning needs the gen whose thoughts it separates")
    marks_of(model_type)
    return SglSeparateReasoning(expr, model_type)


def set_default_backend(backend: HasBackend | None) -> None:
    """Where programs run that are given no backend.

    Raises:
        TypeError: it is none.
    """
    if backend is not None:
        check_backend(backend)
    global_config.default_backend = backend


def flush_cache(backend: HasBackend | None = None) -> None:
    """Forget the backend's cached KV."""
    global_config.backend_or_default(backend).flush_cache()


def get_server_info(backend: HasBackend | None = None) -> dict[str, Any]:
    """The backend's arguments and state."""
    return global_config.backend_or_default(backend).get_server_info()
