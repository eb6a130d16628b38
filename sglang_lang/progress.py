"""A progress bar for batches."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interpreter import ProgramState

WIDTH = 30


class BatchProgress:
    """Shows programs done, programs and tokens per second, and the cache hit rate on stderr.

    Args:
        total: programs in the batch.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._completion_tokens = 0
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._start = time.perf_counter()
        self._lock = threading.Lock()

    def __enter__(self) -> BatchProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        print(file=sys.stderr)

    def advance(self, future: Future[ProgramState]) -> None:
        """One more program is done."""
        with self._lock:
            self._done += 1
            if not future.cancelled() and future.exception() is None:
                usage = future.result().usage
                self._completion_tokens += usage.completion_tokens
                self._prompt_tokens += usage.prompt_tokens
                self._cached_tokens += usage.cached_tokens
            print(f"\r{self.line()}", end="", file=sys.stderr, flush=True)

    def line(self) -> str:
        seconds = max(time.perf_counter() - self._start, 1e-9)
        filled = WIDTH * self._done // self._total
        hit = self._cached_tokens / self._prompt_tokens if self._prompt_tokens else 0.0
        return (
            f"[{'#' * filled}{'.' * (WIDTH - filled)}] {self._done}/{self._total}  "
            f"{self._done / seconds:.1f} items/s  {self._completion_tokens / seconds:.0f} tokens/s"
            f"  cache hit {100 * hit:.0f} %"
        )
