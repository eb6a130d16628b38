"""Conversations kept by the server: each turn names the one before instead of sending it again.

A session is a tree of turns, each the token ids of its prompt and output. The KV needs no keeping:
the radix cache finds it by the ids.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ..errors import CapacityError, RequestError

MAX_SESSIONS = 1024
MAX_TURNS = 4096  # of one session
MAX_CAPACITY = 1 << 20


class SessionParams(msgspec.Struct):
    """Where a request goes on.

    ``rid`` is the turn before, None for the beginning. ``offset`` cuts that turn's tokens;
    ``drop_previous_output`` leaves its output out; ``replace`` forgets the turns that followed it.
    """

    id: str
    rid: str | None = None
    offset: int | None = None
    replace: bool | None = None
    drop_previous_output: bool | None = None


@dataclass(slots=True)
class _Turn:
    tokens: list[int]
    prompt_len: int
    parent: str | None


@dataclass(slots=True)
class _Session:
    capacity: int
    timeout: float | None
    used: float
    turns: dict[str, _Turn] = field(default_factory=dict)


class Sessions:
    """The open sessions."""

    def __init__(self) -> None:
        self._open: dict[str, _Session] = {}

    def open(self, capacity: int, session_id: str | None, timeout: float | None) -> str:
        """A new session, for turns of at most ``capacity`` tokens; closed when idle so long.

        Raises:
            RequestError: the id is taken, or a number is out of range.
            CapacityError: too many are open.
        """
        self._close_idle()
        if not 1 <= capacity <= MAX_CAPACITY:
            raise RequestError(
                f"capacity_of_str_len must be in [1, {MAX_CAPACITY}], got {capacity}",
                param="capacity_of_str_len",
            )
        if timeout is not None and timeout <= 0:
            raise RequestError("timeout must be above 0 seconds", param="timeout")
        if session_id in self._open:
            raise RequestError(f"a session {session_id!r} is open", param="session_id")
        if len(self._open) >= MAX_SESSIONS:
            raise CapacityError(f"{MAX_SESSIONS} sessions are open: close some, or give timeouts")
        name = session_id or uuid.uuid4().hex
        self._open[name] = _Session(capacity, timeout, time.monotonic())
        return name

    def close(self, session_id: str) -> None:
        """Raises RequestError, status 404, when there is no such session."""
        self._find(session_id, "session_id")
        del self._open[session_id]

    def context(self, params: SessionParams) -> list[int]:
        """The tokens before a new turn's own.

        Raises:
            RequestError: there is no such session or turn.
        """
        session = self._find(params.id, "session_params.id")
        if params.replace:
            self._forget_after(session, params.rid)
        if params.rid is None:
            return []
        turn = session.turns.get(params.rid)
        if turn is None:
            raise RequestError(
                f"the session has no finished turn {params.rid!r}", param="session_params.rid"
            )
        tokens = turn.tokens[: turn.prompt_len] if params.drop_previous_output else turn.tokens
        return tokens[: params.offset]

    def check_room(self, params: SessionParams, prompt_len: int) -> None:
        """Raises RequestError when a turn of this length, or one turn more, is too much."""
        session = self._find(params.id, "session_params.id")
        if prompt_len > session.capacity or len(session.turns) >= MAX_TURNS:
            raise RequestError(
                f"the turn has {prompt_len} tokens and is number {len(session.turns) + 1}; the "
                f"session takes {session.capacity} tokens and {MAX_TURNS} turns",
                param="session_params.id",
            )

    def add(
        self, params: SessionParams, rid: str, prompt: Sequence[int], output: Sequence[int]
    ) -> None:
        """Keep a finished turn, unless its session was closed meanwhile."""
        session = self._open.get(params.id)
        if session is not None:
            session.used = time.monotonic()
            session.turns[rid] = _Turn([*prompt, *output], len(prompt), params.rid)

    def _find(self, session_id: str, param: str) -> _Session:
        self._close_idle()
        session = self._open.get(session_id)
        if session is None:
            raise RequestError(f"no session {session_id!r} is open", param=param, status=404)
        session.used = time.monotonic()
        return session

    def _close_idle(self) -> None:
        now = time.monotonic()
        for name, session in list(self._open.items()):
            if session.timeout is not None and now - session.used > session.timeout:
                del self._open[name]

    def _forget_after(self, session: _Session, rid: str | None) -> None:
        doomed = {name for name, turn in session.turns.items() if turn.parent == rid}
        while doomed:
            for name in doomed:
                del session.turns[name]
            doomed = {name for name, turn in session.turns.items() if turn.parent in doomed}
