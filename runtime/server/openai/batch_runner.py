"""Runs batches in the background, a few lines at once, and goes on with them after a restart."""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from sglang_lang.kernels.native import cache_folder

from ...errors import CapacityError, EngineDeadError
from ..context import ServerContext
from .batch_lines import answer_line, check_lines, read_lines
from .job_database import Batch, JobDatabase

logger = logging.getLogger(__name__)

LINES_AT_ONCE = 16
RETRY_SECONDS = 1.0  # after a full queue, or while the scheduler restarts


class BatchRunner:
    """The server's files and batches.

    Args:
        context: what the routes share.
    """

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._database: JobDatabase | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def folder(self) -> Path:
        args = self._context.args
        if args.files_dir is not None:
            return Path(args.files_dir).expanduser()
        return cache_folder() / "files" / str(args.port)

    @property
    def database(self) -> JobDatabase:
        """Opened when it is first needed: most servers never are."""
        if self._database is None:
            self._database = JobDatabase(self.folder)
        return self._database

    async def resume(self) -> None:
        """Go on with what an earlier server left unfinished."""
        if not (self.folder / "jobs.sqlite3").is_file():
            return
        for batch in self.database.batches():
            if not batch.has_ended:
                logger.info("batch %s goes on", batch.id)
                self.start(batch)

    async def close(self) -> None:
        """Stop working; unfinished batches wait for the next server."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._database is not None:
            self._database.close()

    def start(self, batch: Batch) -> None:
        """Work on a batch from now on."""
        task = asyncio.ensure_future(self._run(batch.id))
        self._tasks[batch.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(batch.id, None))

    async def cancel(self, batch_id: str) -> Batch:
        """Stop a batch; what it has answered is kept."""
        batch = self.database.batch(batch_id)
        if batch.has_ended or batch.status in ("finalizing", "cancelling"):
            return batch
        batch.become("cancelling")
        self.database.put_batch(batch)
        task = self._tasks.get(batch_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.start(batch)
        return batch

    # ------------------------------------------------------------------ one batch

    async def _run(self, batch_id: str) -> None:
        batch = self.database.batch(batch_id)
        try:
            if batch.status == "validating":
                await self._validate(batch)
            ending = "cancelled" if batch.status == "cancelling" else "completed"
            if batch.status == "in_progress":
                try:
                    async with asyncio.timeout(max(batch.expires_at - time.time(), 0)):
                        await self._answer_lines(batch)
                except TimeoutError:
                    ending = "expired"
            if not batch.has_ended:
                await asyncio.to_thread(self._finalize, batch, ending)
        except Exception as error:
            logger.exception("batch %s failed", batch_id)
            told = {"code": "server_error", "message": str(error), "param": None, "line": None}
            batch.errors = {"object": "list", "data": [told]}
            batch.become("failed")
            self.database.put_batch(batch)

    async def _validate(self, batch: Batch) -> None:
        path = self.database.content_path(batch.input_file_id)
        count, errors = await asyncio.to_thread(check_lines, path, batch.endpoint)
        batch.request_counts.total = count
        if errors:
            batch.errors = {"object": "list", "data": errors}
        batch.become("failed" if errors else "in_progress")
        self.database.put_batch(batch)

    async def _answer_lines(self, batch: Batch) -> None:
        database = self.database
        done = await asyncio.to_thread(database.lines_done, batch.id)
        lines = read_lines(database.content_path(batch.input_file_id))
        open_lines = ((number, text) for number, text in lines if number not in done)

        async def work() -> None:
            for number, text in open_lines:  # shared: each line goes to one worker
                await self._answer(batch, number, text)

        async with asyncio.TaskGroup() as group:
            for _ in range(LINES_AT_ONCE):
                group.create_task(work())

    async def _answer(self, batch: Batch, number: int, text: bytes) -> None:
        while True:
            try:
                is_error, result = await answer_line(self._context, text)
                break
            except (CapacityError, EngineDeadError):
                await asyncio.sleep(RETRY_SECONDS)
        encoded = msgspec.json.encode(result)
        await asyncio.to_thread(self.database.put_result, batch.id, number, is_error, encoded)

    def _finalize(self, batch: Batch, ending: str) -> None:
        """Write the output files, then enter the last status."""
        database = self.database
        if ending == "completed":
            batch.become("finalizing")
            database.put_batch(batch)
        for is_error, name in ((False, "output"), (True, "error")):
            with tempfile.TemporaryFile() as file:
                _write_lines(file, database.results(batch.id, is_error))
                if not file.tell():
                    continue
                file.seek(0)
                stored = database.add_file(
                    cast(BinaryIO, file), f"{batch.id}_{name}.jsonl", "batch_output"
                )
            setattr(batch, f"{name}_file_id", stored.id)
        database.count_results(batch)
        batch.become(ending)
        database.put_batch(batch)
        database.forget_results(batch.id)


def _write_lines(file: io.BufferedRandom, lines: Iterable[bytes]) -> None:
    for line in lines:
        file.write(line + b"\n")
