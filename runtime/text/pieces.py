"""What an assistant's answer is made of, in the order in which it is written."""

from __future__ import annotations

import secrets
from typing import NamedTuple, Protocol


class Content(NamedTuple):
    """More of the text that is the answer."""

    text: str


class Reasoning(NamedTuple):
    """More of the thinking before it."""

    text: str


class CallStart(NamedTuple):
    """A tool call begins, the ``call``-th of the answer; its arguments follow."""

    call: int
    id: str
    name: str


class CallArguments(NamedTuple):
    """More of the JSON text of a call's arguments."""

    call: int
    text: str


Piece = Content | Reasoning | CallStart | CallArguments


class PieceParser(Protocol):
    """Takes a text apart as it arrives. The pieces' texts together lose nothing that is meant."""

    def feed(self, text: str) -> list[Piece]:
        """What is certain now that ``text`` has come."""
        ...

    def finish(self) -> list[Piece]:
        """What was held back; the output has ended."""
        ...


def new_call_id(length: int | None = None) -> str:
    """An id as OpenAI writes them; some models' templates insist on ``length`` plain characters."""
    return f"call_{secrets.token_hex(12)}" if length is None else secrets.token_hex(length)[:length]


def held_back(text: str, markers: tuple[str, ...]) -> int:
    """Length of the longest end of ``text`` that begins one of the markers."""
    longest = max(map(len, markers), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        if any(len(m) > length and m.startswith(text[-length:]) for m in markers):
            return length
    return 0


def first_of(text: str, markers: tuple[str, ...]) -> tuple[int, str] | None:
    """Where the first of the markers stands, and which one it is."""
    found = [(place, marker) for marker in markers if (place := text.find(marker)) >= 0]
    return min(found, key=lambda match: (match[0], -len(match[1])), default=None)
