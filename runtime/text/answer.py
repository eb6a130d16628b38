"""An assistant's answer taken apart: reasoning, content and tool calls, as they are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .pieces import CallArguments, CallStart, Content, Piece, PieceParser, Reasoning


@dataclass(slots=True)
class ToolCall:
    """One call; ``arguments`` is JSON text."""

    id: str
    name: str
    arguments: str = ""

    def parsed(self) -> dict[str, Any] | None:
        """The arguments as an object, None if they are none: the output was cut off, say."""
        try:
            arguments = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            return None
        return arguments if isinstance(arguments, dict) else None


@dataclass(slots=True)
class Answer:
    """What has been told so far."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Content(text):
                    self.content += text
                case Reasoning(text):
                    self.reasoning += text
                case CallStart(_, call_id, name):
                    self.calls.append(ToolCall(call_id, name))
                case CallArguments(index, text):
                    self.calls[index].arguments += text


class AnswerParser:
    """A ``PieceParser`` made of one for the reasoning and one for the calls in the content.

    Args:
        reasoning: None if everything is content.
        calls: None if no calls are looked for, or ``reasoning`` finds them itself.
        stream_reasoning: tell the reasoning as it comes, or in one piece when it has ended.
    """

    def __init__(
        self,
        reasoning: PieceParser | None,
        calls: PieceParser | None,
        stream_reasoning: bool = True,
    ) -> None:
        self._reasoning = reasoning
        self._calls = calls
        self._streams = stream_reasoning
        self._thought = ""  # reasoning that waits for its end
        self.has_reasoned = False  # whether the reasoning, if any, is over

    def feed(self, text: str) -> list[Piece]:
        if self._reasoning is None:
            return self._answer([Content(text)] if text else [])
        return self._answer(self._reasoning.feed(text))

    def finish(self) -> list[Piece]:
        pieces = self._answer([] if self._reasoning is None else self._reasoning.finish())
        if self._calls is not None:
            pieces += self._calls.finish()
        if self._thought:
            pieces.insert(0, Reasoning(self._thought))
            self._thought = ""
        return pieces

    def _answer(self, pieces: Sequence[Piece]) -> list[Piece]:
        out: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Reasoning):
                if self._streams:
                    out.append(piece)
                else:
                    self._thought += piece.text
                continue
            self.has_reasoned = True
            if self._thought:
                out.append(Reasoning(self._thought))
                self._thought = ""
            if isinstance(piece, Content) and self._calls is not None:
                out += self._calls.feed(piece.text)
            else:
                out.append(piece)
        return out
