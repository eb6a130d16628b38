"""Requests whose constraint is being compiled, on threads beside the scheduler's loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from sglang_lang.constrained.compiler import CompiledGrammar, GrammarCompiler
from sglang_lang.constrained.errors import GrammarError

from ..histogram import Histogram
from .req import Req

logger = logging.getLogger(__name__)

COMPILE_THREADS = 2


@dataclass(slots=True)
class CompileFailure:
    req: Req
    message: str


class GrammarQueue:
    """Compiles constraints; the compiler caches, so a repeated schema is ready at once."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._threads = ThreadPoolExecutor(COMPILE_THREADS, thread_name_prefix="grammar")
        self._compiling: list[tuple[Req, Future[CompiledGrammar]]] = []
        self.compile_seconds = Histogram.empty()
        self.refused = 0
        self.served = 0
        compiler.on_compiled = self.compile_seconds.add

    def __len__(self) -> int:
        return len(self._compiling)

    def add(self, req: Req) -> None:
        """Start compiling the request's constraint."""
        constraint = req.params.constraint
        assert constraint is not None
        kind, value = constraint
        self._compiling.append((req, self._threads.submit(self._compiler.compile, kind, value)))

    def poll(self) -> tuple[list[Req], list[CompileFailure]]:
        """Requests that now have their matcher, and those whose constraint is refused."""
        ready: list[Req] = []
        failed: list[CompileFailure] = []
        waiting: list[tuple[Req, Future[CompiledGrammar]]] = []
        for req, future in self._compiling:
            if not future.done():
                waiting.append((req, future))
                continue
            error = future.exception()
            if error is None:
                req.matcher = future.result().matcher()
                ready.append(req)
                self.served += 1
            elif isinstance(error, GrammarError):
                failed.append(CompileFailure(req, str(error)))
                self.refused += 1
            else:
                raise error
        self._compiling = waiting
        return ready, failed

    @property
    def cache_hits(self) -> int:
        """Requests whose grammar was compiled already, or was being compiled."""
        return max(self.served - self.compile_seconds.count, 0)

    def remove(self, is_named: Callable[[str], bool]) -> list[Req]:
        """Take out the requests of whose rid that is true."""
        taken = [req for req, _ in self._compiling if is_named(req.rid)]
        self._compiling = [entry for entry in self._compiling if not is_named(entry[0].rid)]
        return taken

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
