"""Waiting for something that grows, from threads and from event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

Snapshot = Callable[[], tuple[str, bool]]


class Changes:
    """Told of every change; hands it on to those who follow."""

    def __init__(self) -> None:
        self._followers: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    def notify(self) -> None:
        with self._lock:
            followers = list(self._followers)
        for follower in followers:
            follower()

    def follow(self, snapshot: Snapshot) -> Iterator[str]:
        """The text each time it may have changed, until ``snapshot`` says that it is all."""
        changed = threading.Event()
        self._add(changed.set)
        try:
            while True:
                changed.clear()
                text, is_all = snapshot()
                yield text
                if is_all:
                    return
                changed.wait()
        finally:
            self._remove(changed.set)

    async def afollow(self, snapshot: Snapshot) -> AsyncIterator[str]:
        """``follow`` on the running event loop."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._add(wake)
        try:
            while True:
                changed.clear()
                text, is_all = snapshot()
                yield text
                if is_all:
                    return
                await changed.wait()
        finally:
            self._remove(wake)

    def _add(self, follower: Callable[[], None]) -> None:
        with self._lock:
            self._followers.add(follower)

    def _remove(self, follower: Callable[[], None]) -> None:
        with self._lock:
            self._followers.discard(follower)
