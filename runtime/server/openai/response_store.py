"""Responses that can be asked for again, within a number of them and of bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec

from ...errors import RequestError
from .response_database import ResponseDatabase
from .stored_response import StoredResponse

MAX_RESPONSES = 1024
MAX_BYTES = 64 << 20


class ResponseStore:
    """Keeps the latest responses in memory, where the oldest that has ended makes room.

    Args:
        database: keeps more of them, over restarts; None where nobody asked for that.
        max_responses: how many in memory.
        max_bytes: of their inputs and outputs as JSON.
    """

    def __init__(
        self,
        database: ResponseDatabase | None = None,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._database = database
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._responses: OrderedDict[str, StoredResponse] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}  # of those that run in the background

    def add(self, response: StoredResponse) -> None:
        """Keep a response from now on."""
        self._responses[response.id] = response
        self.update(response)

    def update(self, response: StoredResponse) -> None:
        """Take in what a kept response has become."""
        if response.id not in self._responses:
            return
        if self._database is not None:
            self._database.put(response)
        self._make_room(response)

    def _make_room(self, newest: StoredResponse) -> None:
        size = len(msgspec.json.encode([newest.input, newest.output]))
        self._sizes[newest.id] = size
        for old in list(self._responses):
            too_many = len(self._responses) > self._max_responses
            if not too_many and sum(self._sizes.values()) <= self._max_bytes:
                return
            if old not in self.tasks and old != newest.id:
                self._forget(old)

    def get(self, response_id: str, param: str | None = None) -> StoredResponse:
        """Raises RequestError: there is none, or none any more; 400 where ``param`` names it."""
        found = self._responses.get(response_id)
        if found is None and self._database is not None:
            found = self._database.get(response_id)
            if found is not None:
                self._responses[response_id] = found
                self._make_room(found)
        if found is None:
            raise RequestError(
                f"response {response_id!r} was not found; the server keeps the latest "
                f"{self._max_responses} in memory, and more with --responses-dir",
                param=param,
                status=404 if param is None else 400,
                code=None if param is None else "previous_response_not_found",
            )
        self._responses.move_to_end(response_id)
        return found

    def remove(self, response_id: str) -> None:
        self._forget(response_id)
        if self._database is not None:
            self._database.remove(response_id)

    def _forget(self, response_id: str) -> None:
        del self._responses[response_id]
        del self._sizes[response_id]

    async def close(self) -> None:
        """Cancel what runs in the background, and finish writing."""
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._database is not None:
            self._database.close()
