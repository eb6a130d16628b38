"""The text of a pattern while it is read: a position, small steps, and errors that name it."""

from __future__ import annotations

from .errors import GrammarError, UnsupportedGrammarError

MAX_DIGITS = 9


class PatternText:
    """A pattern and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def next(self) -> str:
        if self.at >= len(self.text):
            raise self.error("the pattern ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def take(self, text: str) -> bool:
        found = self.text.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def digits(self) -> str:
        start = self.at
        while self.peek().isascii() and self.peek().isdigit():
            self.at += 1
        if self.at - start > MAX_DIGITS:
            raise self.error("too large a number", start)
        return self.text[start : self.at]

    def until(self, end: str) -> str:
        stop = self.text.find(end, self.at)
        if stop < 0:
            raise self.error(f"missing {end!r}")
        found = self.text[self.at : stop]
        self.at = stop + 1
        return found

    def error(self, message: str, position: int | None = None) -> GrammarError:
        place = self.at if position is None else position
        return GrammarError(f"regex: {message}, at position {place}", position=place)

    def unsupported(self, construct: str, position: int) -> UnsupportedGrammarError:
        return UnsupportedGrammarError(
            f"regex: {construct} not supported, at position {position}", position=position
        )
