"""Runs programs: once, streaming, awaited, and in batches."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from .backends.base import BaseBackend, HasBackend
from .background import in_thread, on_own_loop, spawn, together, wait_for, watch
from .config import global_config
from .errors import check_on_error
from .executor import StreamExecutor
from .interpreter import ProgramState
from .ir import GenOptions
from .place import failure
from .plan import MIN_SHARED_TEXT, constant_prompt
from .progress import BatchProgress
from .sgl_function import SglFunction
from .tracer import trace_program

MIN_AUTO_THREADS = 96
AUTO_THREADS_PER_CPU = 16
MIN_AHEAD = 200  # programs started before the first state is taken
VERBOSE = 2

logger = logging.getLogger(__name__)


def run_program(
    program: SglFunction,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: GenOptions,
    backend: HasBackend | None,
    *,
    stream: bool = False,
    use_thread: bool = True,
) -> ProgramState:
    """See SglFunction.run."""
    state = new_state(program, options, backend, stream)
    if not stream:
        _run_body(program, args, kwargs, state)
        return state
    if not use_thread:
        _run_quietly(program, args, kwargs, state)
        return state
    thread = threading.Thread(
        target=_run_quietly, args=(program, args, kwargs, state), name=program.name, daemon=True
    )
    thread.start()
    state.stream_executor.body_thread = thread.ident
    return state


async def arun_program(
    program: SglFunction,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: GenOptions,
    backend: HasBackend | None,
) -> ProgramState:
    """See SglFunction.arun."""
    state = new_state(program, options, backend, stream=False)
    await _arun_body(program, args, kwargs, state)
    return state


async def _arun_body(
    program: SglFunction, args: Sequence[Any], kwargs: Mapping[str, Any], state: ProgramState
) -> None:
    """``_run_body`` as a coroutine."""
    executor = state.stream_executor
    try:
        if program.is_async:
            arguments = {**program.bound, **kwargs}
            state.ret_value = await program.func(state, *args, **arguments)
        else:
            await in_thread(lambda: _call(program, args, kwargs, state))
        for member in executor.family():
            await watch(member.mark())
    except BaseException as error:
        if not isinstance(error, asyncio.CancelledError):
            executor.fail(failure(error))
        executor.cancel()
        raise
    executor.end()


async def arun_batch(
    program: SglFunction,
    items: list[dict[str, Any]],
    options: GenOptions,
    backend: HasBackend | None,
    *,
    num_concurrent: int | str,
    progress_bar: bool,
    on_error: str,
) -> list[ProgramState]:
    """See SglFunction.arun_batch."""
    check_on_error(on_error)
    if not items:
        return []
    if len(items) > 1 and global_config.enable_precache_with_tracing:
        chosen = global_config.backend_or_default(backend)
        await asyncio.wrap_future(spawn(_warm_if_possible(program, chosen)))
    slots = asyncio.Semaphore(_threads(num_concurrent, len(items)))
    with BatchProgress(len(items)) if progress_bar else nullcontext() as bar:

        async def one(item: dict[str, Any]) -> ProgramState:
            async with slots:
                state = new_state(program, options, backend, stream=False)
                try:
                    await _arun_body(program, (), item, state)
                except Exception:
                    if on_error == "raise":
                        raise
                if bar is not None:
                    done: Future[ProgramState] = Future()
                    done.set_result(state)
                    bar.advance(done)
                return state

        return await together([one(item) for item in items])


def run_batch(
    program: SglFunction,
    items: list[dict[str, Any]],
    options: GenOptions,
    backend: HasBackend | None,
    *,
    num_threads: int | str,
    progress_bar: bool,
    generator_style: bool,
    on_error: str,
) -> list[ProgramState] | Iterator[ProgramState]:
    """See SglFunction.run_batch."""
    check_on_error(on_error)
    if not items:
        return iter(()) if generator_style else []
    if len(items) > 1 and global_config.enable_precache_with_tracing:
        wait_for(_warm_if_possible(program, global_config.backend_or_default(backend)))
    states = _in_order(
        program, items, options, backend, _threads(num_threads, len(items)), progress_bar, on_error
    )
    return states if generator_style else list(states)


def _in_order(
    program: SglFunction,
    items: list[dict[str, Any]],
    options: GenOptions,
    backend: HasBackend | None,
    num_threads: int,
    progress_bar: bool,
    on_error: str,
) -> Iterator[ProgramState]:
    """The states in the batch's order; so many run ahead of who takes them.

    An error, or the end of whoever takes them, ends the other runs too.
    """
    running: set[StreamExecutor] = set()
    is_over = threading.Event()

    def one(item: dict[str, Any]) -> ProgramState:
        state = new_state(program, options, backend, stream=False)
        running.add(state.stream_executor)
        if is_over.is_set():  # it began while the others were being ended
            state.cancel()
        try:
            _run_body(program, (), item, state)
        except Exception:
            if on_error == "raise":
                raise
        finally:
            running.discard(state.stream_executor)
        return state

    progress = BatchProgress(len(items)) if progress_bar else nullcontext()
    with ThreadPoolExecutor(num_threads) as pool, progress as bar:
        waiting = iter(items)

        def submit() -> Future[ProgramState]:
            future = pool.submit(one, next(waiting))
            if bar is not None:
                future.add_done_callback(bar.advance)
            return future

        ahead = min(max(MIN_AHEAD, 2 * num_threads), len(items))
        futures = deque(submit() for _ in range(ahead))
        try:
            for left in reversed(range(len(items))):
                yield futures.popleft().result()
                if left > len(futures):
                    futures.append(submit())
        except BaseException:
            for future in futures:
                future.cancel()
            is_over.set()
            for executor in list(running):
                executor.cancel()
            raise


def cache_program(program: SglFunction, backend: HasBackend | None) -> None:
    """Warm the cache with the text that every run of the program begins with."""
    wait_for(_warm(program, global_config.backend_or_default(backend)))


async def _warm(program: SglFunction, backend: BaseBackend) -> None:
    prompt = await constant_prompt(trace_program(program, {}), backend)
    if len(prompt.text) > MIN_SHARED_TEXT:
        await backend.warm(prompt)


async def _warm_if_possible(program: SglFunction, backend: BaseBackend) -> None:
    try:
        await _warm(program, backend)
    except Exception:
        return  # a hint only: each run of the batch will tell what is wrong


def new_state(
    program: SglFunction, options: GenOptions, backend: HasBackend | None, stream: bool
) -> ProgramState:
    executor = StreamExecutor(
        global_config.backend_or_default(backend),
        options,
        stream,
        num_api_spec_tokens=program.num_api_spec_tokens,
    )
    if global_config.timeline is not None:
        global_config.timeline.program(executor, program.name)
    return ProgramState(executor)


def _run_body(
    program: SglFunction, args: Sequence[Any], kwargs: Mapping[str, Any], state: ProgramState
) -> None:
    """Run the body and everything it has added; raises what fails."""
    executor = state.stream_executor
    try:
        _call(program, args, kwargs, state)
        for member in executor.family():
            member.sync()
    except BaseException as error:
        state.stream_executor.fail(failure(error))
        executor.cancel()
        raise
    executor.end()
    if global_config.verbosity >= VERBOSE:
        logger.info("%s: %s", program.name, state.text())


def _run_quietly(
    program: SglFunction, args: Sequence[Any], kwargs: Mapping[str, Any], state: ProgramState
) -> None:
    """For streams: an error reaches those who read the state."""
    try:
        _call(program, args, kwargs, state)
    except Exception as error:
        state.stream_executor.fail(failure(error))
    state.end()


def _call(
    program: SglFunction, args: Sequence[Any], kwargs: Mapping[str, Any], state: ProgramState
) -> None:
    result = program.func(state, *args, **{**program.bound, **kwargs})
    state.ret_value = on_own_loop(result) if program.is_async else result


def _threads(num_threads: int | str, items: int) -> int:
    if num_threads == "auto":
        wanted = max(MIN_AUTO_THREADS, (os.cpu_count() or 1) * AUTO_THREADS_PER_CPU)
    elif isinstance(num_threads, int) and num_threads > 0:
        wanted = num_threads
    else:
        raise ValueError(f'num_threads must be positive or "auto", got {num_threads!r}')
    return min(wanted, items)
