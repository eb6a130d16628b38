"""What is asked of a scheduler that is not generation, from the question to its answer."""

from __future__ import annotations

import asyncio
import itertools

from ..errors import EngineDeadError
from ..ipc import SchedulerClient
from ..messages import AdminRequest, ControlReply, ControlRequest


class Commands:
    """The questions that wait for an answer, by id."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[ControlReply]] = {}
        self._ids = itertools.count(1)

    async def ask(
        self, client: SchedulerClient, request: ControlRequest | AdminRequest, timeout: float
    ) -> ControlReply:
        """Send the request under a new id and wait for its reply.

        Raises:
            EngineDeadError: the scheduler does not answer in ``timeout`` seconds, or dies.
        """
        request.id = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        client.send([request])
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise EngineDeadError(f"the scheduler does not answer: {request}") from None
        finally:
            self._waiting.pop(request.id, None)

    def take(self, reply: ControlReply) -> None:
        """Hand on an answer; one that nobody waits for any more is dropped."""
        future = self._waiting.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)

    def fail(self, error: Exception) -> None:
        """The scheduler is gone."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()
