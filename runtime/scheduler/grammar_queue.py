"""Requests whose constraint is being compiled, on threads beside the scheduler's loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from sglang_lang.constrained.backend import CompiledGrammar
from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.constrained.reasoning import ReasoningEnd, ReasoningMatcher

from ..histogram import Histogram
from ..sampling_params import SamplingParams
from .req import Req

logger = logging.getLogger(__name__)

COMPILE_THREADS = 2
TIMEOUT_SECONDS = 60.0


@dataclass(slots=True)
class CompileFailure:
    req: Req
    message: str


class Compiling(NamedTuple):
    req: Req
    future: Future[Compiled]
    deadline: float  # of time.monotonic


class Compiled(NamedTuple):
    """A constraint, and the end of the reasoning it waits for, if any."""

    grammar: CompiledGrammar
    reasoning_end: ReasoningEnd | None

    def matcher(self) -> GrammarMatcher:
        matcher = self.grammar.matcher()
        return (
            matcher if self.reasoning_end is None else ReasoningMatcher(self.reasoning_end, matcher)
        )


class GrammarQueue:
    """Compiles constraints; the compiler caches, so a repeated schema is ready at once.

    Args:
        compiler: compiles them.
        timeout: seconds after which a request whose constraint is not compiled is refused.
    """

    def __init__(self, compiler: GrammarCompiler, timeout: float = TIMEOUT_SECONDS) -> None:
        self._compiler = compiler
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(COMPILE_THREADS, thread_name_prefix="grammar")
        self._compiling: list[Compiling] = []
        self.compile_seconds = Histogram.empty()
        self.refused = 0
        self.timeouts = 0
        self.served = 0
        compiler.on_compiled = self.compile_seconds.add

    def __len__(self) -> int:
        return len(self._compiling)

    def warm_up(self) -> None:
        """Build what most grammars share, beside whatever comes first."""
        self._threads.submit(self._compiler.warm_up)

    def add(self, req: Req) -> None:
        """Start compiling the request's constraint."""
        future = self._threads.submit(self._compile, req.params)
        self._compiling.append(Compiling(req, future, time.monotonic() + self._timeout))

    def _compile(self, params: SamplingParams) -> Compiled:
        assert params.constraint is not None
        kind, value = params.constraint
        grammar = self._compiler.compile(
            kind, value, strict=params.strict, whitespace=params.json_whitespace
        )
        if params.reasoning_end is None:
            return Compiled(grammar, None)
        return Compiled(grammar, self._compiler.reasoning_end(params.reasoning_end))

    def poll(self) -> tuple[list[Req], list[CompileFailure]]:
        """Requests that now have their matcher, and those whose constraint is refused."""
        ready: list[Req] = []
        failed: list[CompileFailure] = []
        waiting: list[Compiling] = []
        for entry in self._compiling:
            req, future, deadline = entry
            if not future.done():
                if time.monotonic() < deadline:
                    waiting.append(entry)
                else:
                    future.cancel()
                    failed.append(CompileFailure(req, self._too_slow()))
                    self.timeouts += 1
                continue
            error = future.exception()
            if error is None:
                compiled = future.result()
                req.matcher = compiled.matcher()
                req.warnings = list(compiled.grammar.warnings)
                ready.append(req)
                self.served += 1
            else:
                failed.append(CompileFailure(req, _reason(error)))
                self.refused += 1
        self._compiling = waiting
        return ready, failed

    @property
    def cache_hits(self) -> int:
        """Requests whose grammar was compiled already, or was being compiled."""
        return max(self.served - self.compile_seconds.count, 0)

    def remove(self, is_named: Callable[[str], bool]) -> list[Req]:
        """Take out the requests of whose rid that is true."""
        taken = [entry.req for entry in self._compiling if is_named(entry.req.rid)]
        self._compiling = [entry for entry in self._compiling if not is_named(entry.req.rid)]
        return taken

    def _too_slow(self) -> str:
        return (
            f"the constraint was not compiled within {self._timeout:g} s: make it smaller, or try "
            "again when fewer are being compiled"
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _reason(error: BaseException) -> str:
    """Why a constraint is refused. A mistake of ours ends its request and no other one."""
    if isinstance(error, GrammarError):
        return str(error)
    logger.error("a constraint could not be compiled", exc_info=error)
    return f"the constraint could not be compiled: {type(error).__name__}"
