"""Files and batches on disk: a SQLite database, and the files' contents beside it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from ...errors import RequestError
from ..owned_folder import OwnedFolder

MAX_FILES = 10_000
MAX_TOTAL_BYTES = 16 << 30
FINAL = ("completed", "failed", "expired", "cancelled")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, created REAL, info BLOB);
CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY, created REAL, info BLOB);
CREATE TABLE IF NOT EXISTS results (
    batch TEXT, line INTEGER, is_error INTEGER, result BLOB, PRIMARY KEY (batch, line)
) WITHOUT ROWID;
"""


class StoredFile(msgspec.Struct, kw_only=True):
    """OpenAI's ``file`` object."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: str = "processed"


class RequestCounts(msgspec.Struct):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, kw_only=True):
    """OpenAI's ``batch`` object."""

    id: str
    object: str = "batch"
    endpoint: str
    errors: dict[str, Any] | None = None
    input_file_id: str
    completion_window: str
    status: str = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = msgspec.field(default_factory=RequestCounts)
    metadata: dict[str, str] | None = None

    def become(self, status: str) -> None:
        """Enter a status and note when."""
        self.status = status
        setattr(self, f"{status}_at", int(time.time()))

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL


R = TypeVar("R", StoredFile, Batch)


class JobDatabase:
    """Every method may be called from any thread.

    Args:
        folder: made if it is not there; one server at a time may use it.

    Raises:
        ServerArgsError: another server uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = OwnedFolder(folder, "--files-dir")
        self._contents = folder / "contents"
        self._contents.mkdir(exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            folder / "jobs.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._folder.release()

    # ------------------------------------------------------------------ files

    def add_file(self, source: BinaryIO, filename: str, purpose: str) -> StoredFile:
        """Keep a copy of what ``source`` holds.

        Raises:
            RequestError: there are too many files, or too large ones.
        """
        stored = self.files()
        if len(stored) >= MAX_FILES or sum(file.bytes for file in stored) >= MAX_TOTAL_BYTES:
            raise RequestError("no room for more files: delete some", param="file", status=413)
        file_id = f"file-{uuid.uuid4().hex}"
        path = self._contents / file_id
        with path.open("wb") as target:
            shutil.copyfileobj(source, target)
        file = StoredFile(
            id=file_id,
            bytes=path.stat().st_size,
            created_at=int(time.time()),
            filename=filename,
            purpose=purpose,
        )
        self._put("files", file)
        return file

    def files(self) -> list[StoredFile]:
        """All of them, the latest first."""
        return self._all("files", StoredFile)

    def file(self, file_id: str, param: str | None = None) -> StoredFile:
        return self._get("files", file_id, StoredFile, param)

    def content_path(self, file_id: str) -> Path:
        """Where the content of a stored file lies."""
        return self._contents / self.file(file_id).id

    def delete_file(self, file_id: str) -> None:
        path = self.content_path(file_id)
        self._execute("DELETE FROM files WHERE id = ?", file_id)
        path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ batches

    def put_batch(self, batch: Batch) -> None:
        self._put("batches", batch)

    def batches(self) -> list[Batch]:
        """All of them, the latest first."""
        batches = self._all("batches", Batch)
        for batch in batches:
            self.count_results(batch)
        return batches

    def batch(self, batch_id: str) -> Batch:
        batch = self._get("batches", batch_id, Batch, None)
        self.count_results(batch)
        return batch

    def count_results(self, batch: Batch) -> None:
        """Bring the counts of a batch that has not ended up to date."""
        if not batch.has_ended:
            errors = self.lines_done(batch.id).values()
            batch.request_counts.failed = sum(errors)
            batch.request_counts.completed = len(errors) - sum(errors)

    def put_result(self, batch_id: str, line: int, is_error: bool, result: bytes) -> None:
        self._execute(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", batch_id, line, is_error, result
        )

    def lines_done(self, batch_id: str) -> dict[int, bool]:
        """The lines of a batch that have a result, and whether it is an error."""
        rows = self._execute("SELECT line, is_error FROM results WHERE batch = ?", batch_id)
        return {line: bool(is_error) for line, is_error in rows}

    def results(self, batch_id: str, is_error: bool) -> Iterator[bytes]:
        """Results in the order of the lines, read in portions."""
        last = -1
        while rows := self._execute(
            "SELECT line, result FROM results WHERE batch = ? AND is_error = ? AND line > ? "
            "ORDER BY line LIMIT 256",
            batch_id,
            is_error,
            last,
        ):
            yield from (result for _, result in rows)
            last = rows[-1][0]

    def forget_results(self, batch_id: str) -> None:
        self._execute("DELETE FROM results WHERE batch = ?", batch_id)

    # ------------------------------------------------------------------ rows

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _put(self, table: str, row: StoredFile | Batch) -> None:
        self._execute(
            f"INSERT INTO {table} VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET info = excluded.info",
            row.id,
            time.time(),
            msgspec.json.encode(row),
        )

    def _all(self, table: str, kind: type[R]) -> list[R]:
        rows = self._execute(f"SELECT info FROM {table} ORDER BY created DESC, id")
        return [msgspec.json.decode(info, type=kind) for (info,) in rows]

    def _get(self, table: str, row_id: str, kind: type[R], param: str | None) -> R:
        rows = self._execute(f"SELECT info FROM {table} WHERE id = ?", row_id)
        if not rows:
            raise RequestError(
                f"there is no {kind.__name__.removeprefix('Stored').lower()} {row_id!r}",
                param=param or "id",
                status=404 if param is None else 400,
            )
        return msgspec.json.decode(rows[0][0], type=kind)
