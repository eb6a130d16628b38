"""Reading JSON that a stranger wrote: bounded in size and depth, numbers kept exact."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from .errors import GrammarError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, name: str, *, max_len: int, max_depth: int) -> Any:
    """Parses JSON text; fractions and exponents become ``Decimal``.

    Args:
        name: how errors call the text.
        max_len: limit on the characters of the text.
        max_depth: limit on the nesting of arrays and objects.

    Raises:
        GrammarError: the text is too long, too deep, or not JSON.
    """
    if len(text) > max_len:
        raise GrammarError(f"{name} has {len(text)} characters, the limit is {max_len}")
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _too_deep(name, max_depth) from error
    except json.JSONDecodeError as error:
        raise GrammarError(f"{name} is not JSON: {error}", position=error.pos) from error
    except ValueError as error:  # an integer of thousands of digits, NaN, Infinity
        raise GrammarError(f"{name} is not JSON: {error}") from error
    if _is_deeper(value, max_depth):
        raise _too_deep(name, max_depth)
    if _SURROGATE.search(text):
        _check_surrogates(value, name)
    return value


def _check_surrogates(value: Any, name: str) -> None:
    """Refuses strings with half a surrogate pair, which are no text."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise GrammarError(f"{name} holds a lone surrogate, which is no character") from error


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether arrays and objects are nested in each other more than ``depth`` times."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
    return bool(level)


def _too_deep(name: str, max_depth: int) -> GrammarError:
    return GrammarError(f"{name} is nested deeper than {max_depth} levels")


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
