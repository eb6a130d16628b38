"""The text of a running program: plain text, turns of a chat, and what the model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .backends.base import BaseBackend, PlacedMedia, Prompt
from .ir import SglExpr, SglMedia, SglRoleBegin, SglRoleEnd
from .origins import Call, SglWritten


class Transcript:
    """Grows by text and turns; renders the turns with the backend's template when asked.

    The text is ``before + opening + content``: what lies before the turns, the rendered turns up
    to inside the open one, and the open turn's content. Outside of turns there is no opening.
    """

    def __init__(self, backend: BaseBackend) -> None:
        self._backend = backend
        self._before = ""
        self._opening = ""
        self._first_turn = 0  # of the messages that ``_opening`` renders
        self._stale = False  # the opening has not been rendered yet
        # The text as far as it is rendered. Other threads read it, so it changes in one step.
        self.shown = ""
        self.messages: list[dict[str, Any]] = []
        self.role: str | None = None
        self.content = ""
        self.media: list[PlacedMedia] = []
        self.history: list[SglExpr] = []  # text, turns and media, in the order they came
        self._forked_at = 0  # in the history

    def copy(self) -> Transcript:
        """The same so far, with nothing added to it yet."""
        twin = Transcript(self._backend)
        twin._before, twin._opening, twin._stale = self._before, self._opening, self._stale
        twin._first_turn, twin.role, twin.content = self._first_turn, self.role, self.content
        twin.messages, twin.media = list(self.messages), list(self.media)
        twin.shown = self.shown
        twin.history, twin._forked_at = list(self.history), len(self.history)
        return twin

    @property
    def added(self) -> list[SglExpr]:
        """What came since the fork that this transcript began with."""
        return self.history[self._forked_at :]

    @property
    def is_chat(self) -> bool:
        return self.role is not None or len(self.messages) > self._first_turn

    def begin(self, role: str) -> None:
        if self.role is not None:
            raise ValueError(f"a turn of {role!r} begins inside one of {self.role!r}")
        self.history.append(SglRoleBegin(role))
        self._before += self.content if not self.is_chat else ""
        self.role, self.content, self._stale = role, "", True

    def end(self, role: str) -> None:
        if self.role != role:
            raise ValueError(f"a turn of {role!r} ends, but {self.role!r} is open")
        self.history.append(SglRoleEnd(role))
        self.messages.append({"role": role, "content": self.content})
        self.role, self.content, self._stale = None, "", True

    @property
    def _unrendered(self) -> list[dict[str, Any]]:
        """The turns that the backend can render, if nothing but them has still to be rendered."""
        can_wait = self._stale and not self._before and self._backend.renders_prompts
        return self.messages[self._first_turn :] if can_wait else []

    @property
    def last_call(self) -> Call | None:
        """That wrote what was added last."""
        last = self.history[-1] if self.history else None
        return last.call if isinstance(last, SglWritten) else None

    async def add(self, text: str, call: Call | None = None) -> None:
        """Append text to the open turn, or to the plain text outside of turns.

        Args:
            text: what to append.
            call: that the model wrote it in; None for the program's own text.
        """
        if self.role is None and self.is_chat:  # plain text after turns: they are history now
            await self.render()
            self._before += self._opening
            self._opening, self._first_turn = "", len(self.messages)
        if call is not None and call is self.last_call:  # a stream's next piece
            text_so_far = self.history.pop()
            assert isinstance(text_so_far, SglWritten)
            self.history.append(SglWritten(text_so_far.value + text, call))
        else:
            self.history.append(SglWritten(text, call))
        self.content += text
        self._show()

    def show(self, media: Sequence[SglMedia]) -> None:
        """Images at this place."""
        self.history += media
        offset = len(self.content if self.role is not None else self.shown)
        self.media += [PlacedMedia(one, len(self.messages), offset) for one in media]

    def _show(self) -> None:
        if not self._stale:
            self.shown = self._before + self._opening + self.content

    async def render(self) -> str:
        """The whole text, rendered."""
        if self._stale:
            turns = self.messages[self._first_turn :]
            self._opening = await self._backend.render_chat(turns, self.role)
            self._stale = False
            self._show()
        return self.shown

    def opened(self, opening: str | None) -> None:
        """What the backend has rendered the unrendered turns of a prompt as; None for nothing."""
        if opening is not None:
            self._opening, self._stale = opening, False
            self._show()

    async def prompt(self, rendered: bool = True) -> Prompt:
        """What a backend continues.

        Args:
            rendered: False may leave turns to the backend to render.
        """
        unrendered = self._unrendered if not rendered else []
        text = self.content if unrendered else await self.render()
        template = self._backend.chat_template if self.role is not None else None
        return Prompt(
            text,
            unrendered,
            is_chat=self.is_chat,
            messages=list(self.messages),
            role=self.role,
            content=self.content,
            media=list(self.media),
            stops=template.stops if template is not None else (),
        )
