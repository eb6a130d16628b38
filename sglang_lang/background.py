"""The event loop on which programs talk to their backends, in one daemon thread of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def background_loop() -> asyncio.AbstractEventLoop:
    """The loop; started on first use."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="sglang-lang", daemon=True).start()
    return loop


def spawn(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine on the background loop."""
    return asyncio.run_coroutine_threadsafe(work, background_loop())


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, from a thread that is not the loop's."""
    future = spawn(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
