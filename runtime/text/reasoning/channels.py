"""gpt-oss's channels: analysis is reasoning, final the answer, commentary holds tool calls.

``<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...`` and
``<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>``
(https://cookbook.openai.com/articles/openai-harmony).
"""

from __future__ import annotations

import re

from ..pieces import (
    CallArguments,
    CallStart,
    Content,
    Piece,
    Reasoning,
    first_of,
    held_back,
    new_call_id,
)

CHANNEL, MESSAGE = "<|channel|>", "<|message|>"
FINAL = f"{CHANNEL}final{MESSAGE}"
ANALYSIS = f"{CHANNEL}analysis"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>", CHANNEL)
_RECIPIENT = re.compile(r"to=functions\.([\w.-]+)")


class ChannelParser:
    """A ``PieceParser`` of all of an answer: it finds the tool calls as well.

    Args:
        calls: whether messages to functions are tool calls; otherwise they are content.
    """

    def __init__(self, calls: bool) -> None:
        self._takes_calls = calls
        self._text = ""
        self._header: str | None = ""  # up to <|message|>; None within a message
        self._channel = "final"  # an answer without any header is the answer
        self._count = 0
        self._in_call = False
        self._has_begun = False

    def feed(self, text: str) -> list[Piece]:
        self._text += text
        pieces: list[Piece] = []
        while self._text:
            before = (len(self._text), self._header)
            pieces += self._message() if self._header is None else self._head()
            if before == (len(self._text), self._header):
                break
        return pieces

    def finish(self) -> list[Piece]:
        rest, self._text = self._text, ""
        if self._header is not None and (self._has_begun or rest.startswith("<|")):
            return []  # a header without a message says nothing
        return self._told(rest)

    def _head(self) -> list[Piece]:
        """The roles, channels and recipients before a message."""
        marks = (CHANNEL, MESSAGE, "<|start|>")
        stripped = self._text.lstrip()
        if not self._has_begun and not any(
            mark.startswith(stripped[: len(mark)]) for mark in marks
        ):
            self._header = None  # a model that writes no channels
            return []
        head, mark, rest = self._text.partition(MESSAGE)
        if not mark:
            return []
        self._has_begun = True
        self._text, self._header = rest, None
        channel = head.rpartition(CHANNEL)[2]
        self._channel = (channel.split() or ["final"])[0].partition("<|")[0]
        recipient = _RECIPIENT.search(head)
        self._in_call = self._takes_calls and recipient is not None
        if recipient is None or not self._in_call:
            return []
        return [CallStart(self._count, new_call_id(), recipient[1])]

    def _message(self) -> list[Piece]:
        found = first_of(self._text, _ENDS)
        if found is None:
            end = len(self._text) - held_back(self._text, _ENDS)
            shown, self._text = self._text[:end], self._text[end:]
            return self._told(shown)
        place, mark = found
        shown, self._text = self._text[:place], self._text[place + len(mark) :]
        if mark in ("<|start|>", CHANNEL):  # the message before had no end
            self._text = mark + self._text
        pieces = self._told(shown)
        self._count += self._in_call
        self._header, self._in_call, self._has_begun = "", False, True
        return pieces

    def _told(self, text: str) -> list[Piece]:
        if not text:
            return []
        if self._in_call:
            return [CallArguments(self._count, text)]
        return [Reasoning(text) if self._channel == "analysis" else Content(text)]
