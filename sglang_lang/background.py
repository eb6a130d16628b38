"""The event loop on which programs talk to their backends, in one daemon thread of the process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

try:  # it comes with the runtime, and costs less to wake
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]

T = TypeVar("T")


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop; started on first use. A process that was forked has one of its own."""
    return _loop_of(os.getpid())


@cache
def _loop_of(_pid: int) -> asyncio.AbstractEventLoop:
    loop = new_event_loop()
    threading.Thread(target=loop.run_forever, name="sglang-lang", daemon=True).start()
    return loop


def on_background_loop() -> bool:
    """Whether this is code that the loop runs."""
    try:
        return asyncio.get_running_loop() is background_loop()
    except RuntimeError:
        return False


def spawn(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine on the background loop."""
    return asyncio.run_coroutine_threadsafe(work, background_loop())


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, from a thread that is not the loop's."""
    future = spawn(work)
    try:
        return result_of(future)
    except BaseException:
        future.cancel()
        raise


def result_of(future: Future[T]) -> T:
    """A future's result; waits for it.

    Raises:
        RuntimeError: this is the loop's own thread, so that nothing would ever make it.
    """
    if not future.done() and on_background_loop():
        raise RuntimeError(
            "code that runs on the background loop, such as a ChoicesSamplingMethod, cannot wait "
            "for what that loop has still to do"
        )
    return future.result()


async def watch(future: Future[T]) -> T:
    """A future's result; who is cancelled while he waits takes it from nobody else."""
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        future.add_done_callback(lambda _: wake(loop, waiter))
        await waiter
    return future.result()


def wake(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    """End the wait of a coroutine of ``loop``, from any thread; it may have been cancelled."""

    def end_wait() -> None:
        if not waiter.done():
            waiter.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(end_wait)


async def together(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in their order; the first failure cancels the others and is raised."""
    if len(works) == 1:
        return [await works[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def on_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that may block: on a loop of its own, so that it holds up no other.

    In this thread, or in a thread of its own where this one's loop is running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, asyncio.run, work).result()


async def in_thread(work: Callable[[], T]) -> T:
    """The result of a function that blocks, in a thread of its own, so that none waits for one."""
    done: Future[T] = Future()

    def run() -> None:
        done.set_running_or_notify_cancel()  # whoever waits may give up; the work goes on
        try:
            result = work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="program", daemon=True).start()
    return await asyncio.wrap_future(done)
