"""Finds tool calls that are JSON objects in literal text, and streams their arguments."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto

from ..pieces import CallArguments, CallStart, Content, Piece, first_of, held_back, new_call_id
from .call_format import CallFormat
from .call_scanner import CallScanner

MAX_HEADER_CHARS = 4096
_BETWEEN = " \t\r\n,;[]`"  # what stands between the calls of a list


class _State(Enum):
    START = auto()  # nothing but spaces has come
    TEXT = auto()  # content; a marker may come
    HEADER = auto()  # behind a marker or a call: the next call's object, or the end of the calls
    CALL = auto()  # in an object
    DROP = auto()  # behind the last call that is wanted


class FramedCallParser:
    """A ``PieceParser`` of the text behind the reasoning.

    What looks like a call but names none of the tools is content: nothing is lost, and an answer
    that is JSON stays one.

    Args:
        call_format: how the model writes calls.
        names: of the tools.
        most: calls to take; what follows the last one is dropped. None for no limit.
    """

    def __init__(self, call_format: CallFormat, names: Collection[str], most: int | None) -> None:
        self._format = call_format
        self._names = names
        self._most = most
        self._state = _State.START
        self._text = ""  # not yet decided upon
        self._frame = ""  # since the marker, or since the last call; content if no call comes
        self._scanner = CallScanner()
        self._count = 0
        self._is_open = False  # whether the call's start has been told
        self._after_calls = False  # spaces between calls and content are neither's

    def feed(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        self._text += text
        steps = {
            _State.START: self._start,
            _State.TEXT: self._content,
            _State.HEADER: self._header,
            _State.CALL: self._call,
        }
        while self._text and self._state is not _State.DROP:
            before = (self._state, len(self._text))
            pieces += steps[self._state]()
            if before == (self._state, len(self._text)):
                break
        if self._state is _State.DROP:
            self._text = ""
        return pieces

    def finish(self) -> list[Piece]:
        if self._state is _State.CALL and not self._is_open:
            return self._give_back(self._frame + self._scanner.raw + self._text)
        if self._state is _State.HEADER:
            text = self._frame + self._text
            rest = self._without_literals(text)
            # A bracket belongs to calls only where a call or its mark came with it.
            rest = rest.strip(_BETWEEN if self._count or rest != text else None)
            if rest and not self._is_cut_off(rest):
                return self._give_back(text)
        if self._state in (_State.START, _State.TEXT):
            rest = self._text.strip() if self._count else self._text
            return self._give_back(self._text) if rest and not self._is_cut_off(rest) else []
        return []

    def _give_back(self, text: str) -> list[Piece]:
        self._text = self._frame = ""
        return [Content(text)]

    # ------------------------------------------------------------------ one state each

    def _start(self) -> list[Piece]:
        """Spaces are held back until something else comes: a call has no content before it."""
        stripped = self._text.lstrip()
        if not stripped:
            return []
        call_format = self._format
        fence = call_format.fence or ""
        lead = fence if fence and stripped.startswith(fence) else ""
        if call_format.bare and (lead or stripped[0] in "{["):
            begin = len(self._text) - len(stripped) + len(lead)
            self._frame, self._text = self._text[:begin], self._text[begin:]
            self._state = _State.HEADER
        elif not any(mark.startswith(stripped) for mark in (*call_format.markers, fence)):
            self._state = _State.TEXT
        return []

    def _content(self) -> list[Piece]:
        if self._after_calls:
            self._text = self._text.lstrip()
        markers = self._format.markers
        found = first_of(self._text, markers)
        if found is None:
            end = len(self._text) - held_back(self._text, markers)
            return self._take_content(len(self._text[:end].rstrip()))
        place, marker = found
        before = self._text[:place]
        self._frame, self._text = marker, self._text[place + len(marker) :]
        self._state = _State.HEADER
        if before.strip():
            return [Content(before.rstrip())]
        return []

    def _take_content(self, end: int) -> list[Piece]:
        shown, self._text = self._text[:end], self._text[end:]
        self._after_calls &= not shown
        return [Content(shown)] if shown else []

    def _header(self) -> list[Piece]:
        brace = self._text.find("{")
        left = self._text.find(self._format.leave) if self._format.leave else -1
        if left >= 0 and not 0 <= brace < left:
            return self._leave(left)
        if brace < 0:
            return self._without_brace()
        header = self._without_literals(self._text[:brace])
        name = self._format.header_name(header).strip(_BETWEEN)
        if name not in self._names if name else header.strip(_BETWEEN):
            return self._spoiled(brace + 1)
        self._frame += self._text[:brace]
        self._text = self._text[brace:]
        self._scanner = CallScanner(name or None)
        self._is_open = False
        self._state = _State.CALL
        return []

    def _leave(self, left: int) -> list[Piece]:
        """The frame ends; what is in it that is no call is content."""
        frame = self._frame + self._text[:left]
        leave = self._format.leave or ""
        self._frame, self._text = "", self._text[left + len(leave) :]
        self._after_calls = self._count > 0
        self._state = _State.TEXT if self._count else _State.START
        return [Content(frame + leave)] if self._without_literals(frame).strip(_BETWEEN) else []

    def _without_brace(self) -> list[Piece]:
        """What has no brace yet may still become the header of a call, or not."""
        if not self._count and not self._frame.strip() and self._text.strip(_BETWEEN):
            return self._spoiled(0)  # text that only begins like a list of calls
        if len(self._text) > MAX_HEADER_CHARS:
            return self._spoiled(len(self._text))
        return []

    def _spoiled(self, end: int) -> list[Piece]:
        """No call: the frame and the text up to ``end`` are content, the rest is looked at anew."""
        shown, self._text = self._frame + self._text[:end], self._text[end:]
        self._frame, self._state = "", _State.TEXT
        return [Content(shown)] if shown else []

    def _without_literals(self, text: str) -> str:
        """What is in the text besides the format's own marks."""
        call_format = self._format
        for literal in (*call_format.markers, *call_format.noise, call_format.leave or ""):
            text = text.replace(literal, "")
        return text

    def _is_cut_off(self, text: str) -> bool:
        """Whether it is the beginning of a mark behind a call: max_tokens has ended the answer."""
        call_format = self._format
        literals = (*call_format.markers, *call_format.noise, call_format.leave or "")
        return self._count > 0 and any(literal.startswith(text) for literal in literals)

    def _call(self) -> list[Piece]:
        scanner = self._scanner
        self._text = scanner.feed(self._text)
        if not self._is_open:
            if scanner.name is None and not scanner.done:
                return []
            if scanner.name not in self._names:
                self._frame += scanner.raw
                return self._spoiled(0)
        pieces: list[Piece] = []
        if not self._is_open:
            assert scanner.name is not None
            self._is_open = True
            pieces.append(CallStart(self._count, new_call_id(self._format.id_length), scanner.name))
        arguments = scanner.take_arguments()
        if scanner.done and not scanner.has_arguments:
            arguments = "{}"
        if arguments:
            pieces.append(CallArguments(self._count, arguments))
        if scanner.done:
            self._count += 1
            self._frame = ""
            self._state = _State.DROP if self._count == self._most else _State.HEADER
        return pieces
