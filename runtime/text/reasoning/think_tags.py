"""Reasoning between tags, ``<think> ... </think>``, then the answer."""

from __future__ import annotations

from ..pieces import Content, Piece, Reasoning, held_back

OPEN, CLOSE = "<think>", "</think>"


class ThinkTagParser:
    """A ``PieceParser``.

    Args:
        inside: whether the output begins in the reasoning: the prompt has the opening tag.
    """

    def __init__(self, inside: bool) -> None:
        self._inside = inside
        self._at_start = True  # of the output, or of what stands behind a tag: spaces are dropped
        self._decided = inside  # whether an opening tag can no longer come
        self._text = ""

    def feed(self, text: str) -> list[Piece]:
        self._text += text
        if not self._decided and not self._decide():
            return []
        if not self._inside:
            return self._content()
        if self._at_start:
            self._text = self._text.removeprefix(OPEN)  # some models repeat the prompt's tag
            if OPEN.startswith(self._text):
                return []
        before, tag, after = self._text.partition(CLOSE)
        if not tag:
            end = len(self._text) - held_back(self._text, (CLOSE,))
            return self._reasoning(len(self._text[:end].rstrip()))
        pieces = self._reasoning(len(before.rstrip()))
        self._inside, self._at_start, self._text = False, True, after
        return pieces + self._content()

    def finish(self) -> list[Piece]:
        rest, self._text = self._text, ""
        if not rest.strip():
            return []
        return [Reasoning(rest.rstrip()) if self._inside else Content(rest)]

    def _decide(self) -> bool:
        """Whether enough has come to know if the output begins with the opening tag."""
        stripped = self._text.lstrip()
        if stripped.startswith(OPEN):
            self._inside, self._text = True, stripped.removeprefix(OPEN)
        elif OPEN.startswith(stripped):
            return False
        self._decided = True
        return True

    def _reasoning(self, end: int) -> list[Piece]:
        shown, self._text = self._text[:end], self._text[end:]
        if self._at_start:
            shown = shown.lstrip()
        if not shown:
            return []
        self._at_start = False
        return [Reasoning(shown)]

    def _content(self) -> list[Piece]:
        shown, self._text = self._text, ""
        if self._at_start:
            shown = shown.lstrip("\n")
        if not shown:
            return []
        self._at_start = False
        return [Content(shown)]
