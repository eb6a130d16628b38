"""The syntax of a regular expression: what the parser produces and the compiler reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Choice

from .regex_tree import Ranges


@dataclass(slots=True, frozen=True)
class Characters:
    """One character of a set."""

    ranges: Ranges


@dataclass(slots=True, frozen=True)
class Text:
    """These characters, one after another."""

    text: str


@dataclass(slots=True, frozen=True)
class Sequence:
    parts: tuple[Syntax, ...]


@dataclass(slots=True, frozen=True)
class Branches:
    options: tuple[Syntax, ...]


@dataclass(slots=True, frozen=True)
class Counted:
    """``part`` from ``minimum`` to ``maximum`` times; None means without end."""

    part: Syntax
    minimum: int
    maximum: int | None
    position: int


@dataclass(slots=True, frozen=True)
class Edge:
    """The start or the end of the text."""

    kind: Choice["start", "end"]
    position: int


@dataclass(slots=True, frozen=True)
class WordBoundary:
    """A place where of the characters before and after exactly one is a word character."""

    word: Ranges
    negated: bool
    position: int


@dataclass(slots=True, frozen=True)
class Look:
    """What follows (or, ``behind``, what precedes) does or does not match."""

    part: Syntax
    behind: bool
    negated: bool
    position: int


Syntax = Characters | Text | Sequence | Branches | Counted | Edge | WordBoundary | Look
Assertion = Edge | WordBoundary | Look
EMPTY = Sequence(())
