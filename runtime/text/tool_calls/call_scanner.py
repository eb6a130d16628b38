"""Follows one JSON object as it is written: the tool's name, and its arguments as they come."""

from __future__ import annotations

import json

_ARGUMENTS = ("arguments", "parameters")


class CallScanner:
    """Scans ``{"name": ..., "arguments": {...}}``, in any order and with further keys.

    Args:
        name: of the tool if it is known already; the object then is the arguments.

    Attributes:
        raw: the text so far.
        name: once it is known.
        done: whether the object is complete.
    """

    def __init__(self, name: str | None = None) -> None:
        self.raw = ""
        self.name = name
        self.done = False
        self._is_arguments = name is not None
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._string_start = 0
        self._key: str | None = None
        self._value_start: int | None = None  # of the value of a top-level key
        self._arguments_start: int | None = 0 if self._is_arguments else None
        self._arguments_end: int | None = None
        self._taken = 0  # how far the arguments have been given away

    def feed(self, text: str) -> str:
        """Read on, up to the end of the object or of the name; returns what stands behind."""
        start, had_name = len(self.raw), self.name is not None
        self.raw += text
        for place in range(start, len(self.raw)):
            if self._in_string:
                self._read_in_string(self.raw[place], place)
            else:
                self._read(self.raw[place], place)
            if self.done or (self.name is not None and not had_name):
                rest, self.raw = self.raw[place + 1 :], self.raw[: place + 1]
                return rest
        return ""

    @property
    def has_arguments(self) -> bool:
        return self._arguments_start is not None

    def take_arguments(self) -> str:
        """The text of the arguments that has come since the last time."""
        if self._arguments_start is None:
            return ""
        new = self.raw[max(self._taken, self._arguments_start) : self._arguments_end]
        if self._taken <= self._arguments_start:
            self._taken = self._arguments_start + len(new) - len(new.lstrip())
            new = new.lstrip()
        new = new.rstrip()  # spaces are given with what follows them
        self._taken += len(new)
        return new

    def _read_in_string(self, char: str, place: int) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False
            if self._depth == 1 and self._value_start is None:
                self._key = _unquoted(self.raw[self._string_start : place + 1])

    def _read(self, char: str, place: int) -> None:
        match char:
            case '"':
                self._in_string, self._string_start = True, place
            case "{" | "[":
                self._depth += 1
            case "}" | "]":
                self._depth -= 1
                if self._depth == 0:
                    self._end_value(place)
                    self.done = True
            case ":" if self._depth == 1 and self._value_start is None:
                self._value_start = place + 1
                if self._key in _ARGUMENTS and self._arguments_start is None:
                    self._arguments_start = place + 1
            case "," if self._depth == 1:
                self._end_value(place)

    def _end_value(self, place: int) -> None:
        """The value of a top-level key ends before ``place``."""
        if self._value_start is not None and not self._is_arguments:
            if self._key == "name" and self.name is None:
                self.name = _unquoted(self.raw[self._value_start : place])
            elif self._value_start == self._arguments_start:
                self._arguments_end = place
        self._key = self._value_start = None


def _unquoted(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None
