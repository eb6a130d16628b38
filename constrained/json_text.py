"""Reading JSON that a stranger wrote: bounded in size and depth, numbers kept exact."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import numpy as np

from .errors import GrammarError

_NEITHER_BRACKET_NOR_QUOTE = bytes(set(range(256)) - set(b'[]{}"'))
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
    _check_depth(text, name, max_depth)
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise GrammarError(f"{name} is not JSON: {error}", position=error.pos) from error
    except ValueError as error:  # an integer of thousands of digits, NaN, Infinity
        raise GrammarError(f"{name} is not JSON: {error}") from error
    if _SURROGATE.search(text):
        _check_surrogates(value, name)
    return value


def _check_surrogates(value: Any, name: str) -> None:
    """Refuses strings with half a surrogate pair, which are no text."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise GrammarError(f"{name} holds a lone surrogate, which is no character") from error


def _check_depth(text: str, name: str, max_depth: int) -> None:
    if text.count("[") + text.count("{") <= max_depth:
        return
    kept = text.encode(errors="replace").replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = kept.translate(None, _NEITHER_BRACKET_NOR_QUOTE).split(b'"')[::2]
    brackets = np.frombuffer(b"".join(outside), np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    if np.cumsum(np.where(opening, 1, -1)).max(initial=0) > max_depth:
        raise GrammarError(f"{name} is nested deeper than {max_depth} levels")


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
