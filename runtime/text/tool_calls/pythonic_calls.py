"""Finds tool calls written as Python: ``[get_weather(city="Oslo"), get_time()]``."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection

from ..pieces import CallArguments, CallStart, Content, Piece, first_of, held_back, new_call_id
from .call_format import CallFormat

MAX_ARGUMENT_CHARS = 1 << 20
_CONSTANTS = {"true": True, "false": False, "null": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class PythonicCallParser:
    """A ``PieceParser``; arguments are told one by one, as JSON.

    A list that is no list of calls of the tools is content.

    Args:
        call_format: its markers.
        names: of the tools.
        most: calls to take, None for no limit.
    """

    def __init__(self, call_format: CallFormat, names: Collection[str], most: int | None) -> None:
        self._markers = call_format.markers
        self._leave = call_format.leave
        self._names = names
        self._most = most
        self._text = ""
        self._in_calls = False
        self._at_start = True
        self._count = 0
        self._num_arguments: int | None = None  # of the open call; None between calls

    def feed(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        self._text += text
        going_on = True
        while going_on and self._text:
            before = (len(self._text), self._in_calls, self._num_arguments)
            if not self._in_calls:
                pieces += self._content()
            elif self._num_arguments is None:
                pieces += self._name()
            else:
                pieces += self._argument()
            going_on = before != (len(self._text), self._in_calls, self._num_arguments)
        return pieces

    def finish(self) -> list[Piece]:
        rest, self._text = self._text, ""
        if self._in_calls and (self._count or self._num_arguments is not None):
            return []  # a call that was cut off, or the end of the list
        return [Content(rest)] if rest else []

    def _content(self) -> list[Piece]:
        stripped = self._text.lstrip()
        if self._at_start and (not stripped or any(m.startswith(stripped) for m in self._markers)):
            return []
        found = first_of(self._text, self._markers)
        if self._at_start and stripped.startswith("["):
            self._in_calls = True
            return []
        if found is not None:
            place, marker = found
            before, self._text = self._text[:place], self._text[place + len(marker) :]
            self._in_calls = True
            self._at_start = False
            return [Content(before.rstrip())] if before.strip() else []
        self._at_start = False
        end = len(self._text) - held_back(self._text, self._markers)
        shown, self._text = self._text[:end], self._text[end:]
        return [Content(shown)] if shown else []

    def _name(self) -> list[Piece]:
        """``[``, ``, `` and the like, then a function's name and its parenthesis."""
        head, parenthesis, rest = self._text.partition("(")
        if self._leave and self._leave in head:
            self._text = self._text.partition(self._leave)[2].lstrip()
            self._in_calls = False
            return []
        name = head.strip().strip(" \n\t,[]")
        if not parenthesis:
            if self._count or _may_become(name, self._names):
                return []
            return self._no_calls()
        if name not in self._names:
            return self._no_calls()
        self._text = rest
        self._num_arguments = 0
        if self._count == self._most:
            self._text, self._num_arguments = "", None
            return []
        return [CallStart(self._count, new_call_id(), name)]

    def _no_calls(self) -> list[Piece]:
        self._in_calls = self._at_start = False
        shown, self._text = self._text, ""
        return [Content(shown)]

    def _argument(self) -> list[Piece]:
        """One ``key=value`` up to its comma, or the call's parenthesis."""
        end = _end_of_argument(self._text)
        if end is None:
            if len(self._text) > MAX_ARGUMENT_CHARS:
                self._text = ""
            return []
        argument, stop = self._text[:end].strip(), self._text[end]
        self._text = self._text[end + 1 :]
        assert self._num_arguments is not None
        shown = ""
        if argument and (pair := _as_json(argument)) is not None:
            shown = ("{" if self._num_arguments == 0 else ", ") + pair
            self._num_arguments += 1
        pieces: list[Piece] = []
        if stop == ")":
            shown += "}" if self._num_arguments else "{}"
            pieces = [CallArguments(self._count, shown)]
            self._count += 1
            self._num_arguments = None
            return pieces
        return [CallArguments(self._count, shown)] if shown else []


def _may_become(name: str, names: Collection[str]) -> bool:
    return any(known.startswith(name) for known in names)


def _end_of_argument(text: str) -> int | None:
    """Where the comma or parenthesis stands that ends the first argument."""
    open_brackets: list[str] = []
    quote = ""
    escaped = False
    for place, char in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in _CLOSING:
            open_brackets.append(_CLOSING[char])
        elif open_brackets and char == open_brackets[-1]:
            open_brackets.pop()
        elif not open_brackets and char in ",)":
            return place
    return None


def _as_json(argument: str) -> str | None:
    """``key=value`` as a member of a JSON object; None if it is no such thing."""
    try:
        call = ast.parse(f"f({argument})", mode="eval").body
        assert isinstance(call, ast.Call)
        [keyword] = call.keywords
        return f"{json.dumps(keyword.arg)}: {json.dumps(_value(keyword.value), ensure_ascii=False)}"
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {
            ast.literal_eval(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    return ast.literal_eval(node)
