"""Responses on disk, so that a restarted server still knows them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from ..owned_folder import OwnedFolder
from .stored_response import StoredResponse

logger = logging.getLogger(__name__)

MAX_SAVED = 100_000
MAX_SAVED_BYTES = 4 << 30
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE, size INTEGER, response BLOB
);
"""
_GONE = {"code": "server_error", "message": "the server that was working on it has ended"}
_encode = msgspec.json.Encoder().encode


class ResponseDatabase:
    """A SQLite database whose one thread does everything in order; writers do not wait for it.

    Args:
        folder: made if it is not there; one server at a time may use it.
        max_saved: the oldest responses beyond so many are dropped.
        max_bytes: and beyond so many bytes of JSON.

    Raises:
        ServerArgsError: another server uses the folder.
    """

    def __init__(
        self, folder: Path, max_saved: int = MAX_SAVED, max_bytes: int = MAX_SAVED_BYTES
    ) -> None:
        self._folder = OwnedFolder(folder, "--responses-dir")
        self._max_saved = max_saved
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="responses")
        self._connection = sqlite3.connect(
            folder / "responses.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        [(self._count, self._bytes)] = self._connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM responses"
        )

    def put(self, response: StoredResponse) -> None:
        """Save a response as it is now."""
        self._later(self._put, response.id, _encode(response))

    def get(self, response_id: str) -> StoredResponse | None:
        """A saved response; one that was still being worked on has failed since."""
        rows = self._thread.submit(self._select, response_id).result()
        if not rows:
            return None
        response = msgspec.json.decode(rows[0][1], type=StoredResponse)
        if not response.has_ended:
            response.status, response.error = "failed", dict(_GONE)
        return response

    def remove(self, response_id: str) -> None:
        self._later(self._delete, response_id)

    def close(self) -> None:
        """Finish what is being written."""
        self._thread.shutdown()
        self._connection.close()
        self._folder.release()

    def _later(self, work: Callable[..., None], *args: object) -> None:
        self._thread.submit(work, *args).add_done_callback(_tell_failure)

    # ------------------------------------------------------------------ in the thread

    def _put(self, response_id: str, data: bytes) -> None:
        self._delete(response_id)
        self._connection.execute(
            "INSERT INTO responses (id, size, response) VALUES (?, ?, ?)",
            (response_id, len(data), data),
        )
        self._count, self._bytes = self._count + 1, self._bytes + len(data)
        while self._count > self._max_saved or self._bytes > self._max_bytes:
            [(oldest,)] = self._connection.execute(
                "SELECT id FROM responses ORDER BY number LIMIT 1"
            ).fetchall()
            self._delete(oldest)

    def _select(self, response_id: str) -> list[tuple[int, bytes]]:
        return self._connection.execute(
            "SELECT size, response FROM responses WHERE id = ?", (response_id,)
        ).fetchall()

    def _delete(self, response_id: str) -> None:
        for size, _ in self._select(response_id):
            self._connection.execute("DELETE FROM responses WHERE id = ?", (response_id,))
            self._count, self._bytes = self._count - 1, self._bytes - size


def _tell_failure(done: Future[None]) -> None:
    """Nobody waits for a write: what goes wrong with it is said here."""
    if (error := done.exception()) is not None:
        logger.error("the responses on disk are not up to date: %s", error)
