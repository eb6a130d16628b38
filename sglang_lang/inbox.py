"""A queue from any thread to one coroutine of the background loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

from .background import wake

T = TypeVar("T")


class Inbox(Generic[T]):
    """What is put in comes out in order.

    To wake an event loop costs a system call and a change of threads, so that is done only where
    the reader waits: a program that runs ahead of it pays once for all it has put in meanwhile.

    Args:
        loop: the reader's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._lock = threading.Lock()

    def put(self, item: T) -> None:
        """From any thread."""
        with self._lock:
            self._items.append(item)
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            wake(self._loop, waiter)

    async def get(self) -> T:
        """The next item; waits for it. There is one reader, on the loop."""
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                waiter = self._waiter = self._loop.create_future()
            await waiter
