"""What ``gen`` and ``run`` are given, checked, as GenOptions; and values from generated text."""

from __future__ import annotations

import re
from typing import Any

from .ir import GenOptions
from .objects import json_text, schema_text

INT_REGEX = r"[-+]?[0-9]+[ \n]*"
FLOAT_REGEX = r"[-+]?[0-9]*\.?[0-9]+[ \n]*"
BOOL_REGEX = r"(True|False)"
STR_REGEX = r"\"[\w\d\s]*\""
NUMBER_STOPS = (" ", "\n")
# (constraint, stops) that make the output spell a value of the type
_DTYPES: dict[type, tuple[str, tuple[str, ...]]] = {
    int: (INT_REGEX, NUMBER_STOPS),
    float: (FLOAT_REGEX, NUMBER_STOPS),
    bool: (BOOL_REGEX, ()),
    str: (STR_REGEX, ()),
}
_DTYPE_NAMES = {dtype.__name__: dtype for dtype in _DTYPES}
_CONSTRAINTS = ("regex", "json_schema", "ebnf", "structural_tag", "dtype")


def gen_options(
    *,
    top_k: int | None = None,
    stop: str | list[str] | None = None,
    dtype: type | str | None = None,
    regex: str | None = None,
    json_schema: Any = None,
    structural_tag: Any = None,
    **others: Any,
) -> GenOptions:
    """The options of one ``gen``, or the defaults of a run.

    Args:
        top_k: SGLang's -1 is no limit.
        stop: strings that end the output; those of ``dtype`` come with them.
        dtype: int, float, bool or str, or its name.
        regex: a pattern that Python can compile.
        json_schema: text, a dict, a pydantic model or a dataclass.
        structural_tag: text or a dict.
        others: fields of GenOptions.

    Raises:
        ValueError: an invalid regex or dtype, or more than one constraint.
    """
    constraints = (regex, json_schema, others.get("ebnf"), structural_tag, dtype)
    if len(constraints) - constraints.count(None) > 1:
        pairs = zip(_CONSTRAINTS, constraints, strict=True)
        said = ", ".join(name for name, value in pairs if value is not None)
        raise ValueError(f"gen takes one constraint, got {said}")
    _check_regex(regex)
    kind = None
    if dtype is not None:
        kind = _dtype(dtype)
        regex, stops = _DTYPES[kind]
        stop = [*([stop] if isinstance(stop, str) else stop or ()), *stops] or None
    return GenOptions(
        top_k=None if top_k == -1 else top_k,
        stop=stop,
        dtype=kind,
        regex=regex,
        json_schema=None if json_schema is None else schema_text(json_schema),
        structural_tag=json_text(structural_tag),
        **others,
    )


def convert(text: str, dtype: type | None) -> Any:
    """The value of a generated text; strings stay as they are generated."""
    if dtype is int:
        return int(text)
    if dtype is float:
        return float(text)
    if dtype is bool:
        return text == "True"
    return text


def _dtype(dtype: type | str) -> type:
    kind = _DTYPE_NAMES.get(dtype) if isinstance(dtype, str) else dtype
    if kind not in _DTYPES:
        raise ValueError(f"dtype must be int, float, bool or str, got {dtype!r}")
    return kind


def _check_regex(pattern: str | None) -> None:
    """ValueError for a pattern that Python cannot compile either."""
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"regex {pattern!r} is not valid: {error}") from error
