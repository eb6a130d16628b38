"""Starts the scheduler process, watches it, and puts a new one in its place when it dies."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from ..errors import EngineDeadError, ModelLoadError
from ..ipc import SchedulerStart, ZmqSchedulerClient
from ..messages import ControlRequest, SchedulerFailed, SchedulerReady
from ..process_age import process_age
from ..server_args import ServerArgs

if TYPE_CHECKING:  # the scheduler's process starts before these are imported
    from ..text.tokenizer_manager import TokenizerManager

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0
RESTART_PAUSE_SECONDS = 1.0  # between two scheduler processes that both fail to start
WATCH_SECONDS = 1.0


class SchedulerProcess:
    """One life of a scheduler: its process and the sockets to it.

    It starts at once; the process ends by itself when this one does (its stdin closes).
    """

    def __init__(self, args: ServerArgs, weights_path: str | None = None) -> None:
        self.client = ZmqSchedulerClient()
        self._is_ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sglang_lang.runtime.scheduler.process"], stdin=subprocess.PIPE
        )
        assert self.process.stdin is not None
        start = SchedulerStart(args, self.client.addresses, weights_path)
        self.process.stdin.write(msgspec.json.encode(start) + b"\n")
        self.process.stdin.flush()
        self.launched_at = process_age()  # seconds after the start of this process

    async def ready(self) -> SchedulerReady:
        """Wait until it can take requests.

        Raises:
            ModelLoadError: it says why it cannot start.
            EngineDeadError: it died without a word.
        """
        first = asyncio.ensure_future(self.client.recv())
        died = asyncio.ensure_future(self.exited())
        await asyncio.wait({first, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if not first.done():
            first.cancel()
            raise EngineDeadError(f"the scheduler ended with status {self.process.returncode}")
        message = first.result()[0]
        if isinstance(message, SchedulerFailed):
            raise ModelLoadError(message.message)
        assert isinstance(message, SchedulerReady), message
        self._is_ready = True
        return message

    async def exited(self) -> None:
        """Wait for the end of the process."""
        while self.process.poll() is None:
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End it, gently first: one that runs may have KV to save."""
        assert self.process.stdin is not None
        if self._is_ready:
            self.client.send([ControlRequest(id=0, action="shutdown")])
        else:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.exited(), STOP_SECONDS)
        except TimeoutError:
            self.process.kill()
            await self.exited()
        self.client.close()


class Supervisor:
    """Keeps a scheduler running behind a tokenizer manager.

    Args:
        args: resolved arguments.
        manager: told when a scheduler comes and goes.
        first: the scheduler process that is starting already.
    """

    def __init__(
        self, args: ServerArgs, manager: TokenizerManager, first: SchedulerProcess
    ) -> None:
        self._args = args
        self._manager = manager
        self._current = first
        self.restarts = 0

    async def first_ready(self) -> SchedulerReady:
        """Wait for the first scheduler; what ``SchedulerProcess.ready`` raises is fatal."""
        ready = await self._current.ready()
        self._manager.attach(self._current.client, ready)
        return ready

    async def run_forever(self) -> None:
        """Hand on the scheduler's messages, and replace it when it dies or hangs."""
        while True:
            await self._serve()
            self._manager.detach(
                EngineDeadError("the scheduler died and is being restarted; try again")
            )
            logger.error("the scheduler ended with %s", self._current.process.returncode)
            self._current.client.close()
            await self._restart()

    async def _serve(self) -> None:
        reader = asyncio.ensure_future(self._manager.read_forever(self._current.client))
        exited = asyncio.ensure_future(self._current.exited())
        watchdog = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({exited, watchdog}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, exited, watchdog):
                task.cancel()
            await asyncio.gather(reader, exited, watchdog, return_exceptions=True)

    async def _watch(self) -> None:
        """Returns after killing a scheduler that has requests and says nothing."""
        manager = self._manager
        silent_since = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not manager.num_live:
                silent_since = time.monotonic()
            since = max(silent_since, manager.last_message)
            if time.monotonic() - since > self._args.watchdog_timeout / 2:
                manager.ping()  # one that is paused has nothing to say unless it is asked
            if time.monotonic() - since > self._args.watchdog_timeout:
                logger.error("no word from the scheduler for %.0f s", time.monotonic() - since)
                self._current.process.kill()
                await self._current.exited()
                return

    async def _restart(self) -> None:
        while True:
            self.restarts += 1
            self._current = SchedulerProcess(self._args, self._manager.weights_path)
            try:
                self._manager.attach(self._current.client, await self._current.ready())
                return
            except (ModelLoadError, EngineDeadError) as error:
                logger.error("restart %d failed: %s", self.restarts, error)
                await self._current.stop()
                await asyncio.sleep(RESTART_PAUSE_SECONDS)

    async def stop(self) -> None:
        self._manager.detach(EngineDeadError("the server is shutting down"))
        await self._current.stop()
