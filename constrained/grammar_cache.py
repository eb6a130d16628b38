"""Grammars by what they were compiled from, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from .backend import CompiledGrammar

REMEASURED = 8  # all are measured when the newest are one in so many, for that takes long


class GrammarCache:
    """Least recently used grammars within a number of bytes; equal requests compile once.

    A compilation in progress is a future that later callers wait for; its failure is raised in
    each of them and is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[object, Future[CompiledGrammar]] = OrderedDict()
        self._unmeasured = 0  # entries since all were measured

    def get(self, key: object, build: Callable[[], CompiledGrammar]) -> CompiledGrammar:
        """The grammar of ``key``, built by this caller if no one has."""
        with self._lock:
            future = self._entries.get(key)
            mine = future is None
            if future is None:
                future = self._entries[key] = Future()
            self._entries.move_to_end(key)
        if mine:
            self._build(key, future, build)
        return future.result()

    def _build(
        self, key: object, future: Future[CompiledGrammar], build: Callable[[], CompiledGrammar]
    ) -> None:
        try:
            grammar = build()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            future.set_exception(error)
            return
        future.set_result(grammar)
        with self._lock:
            self._evict(key)

    def _evict(self, newest: object) -> None:
        """Drops finished grammars, oldest first, while all together exceed the limit."""
        self._unmeasured += 1
        if self._unmeasured * REMEASURED < len(self._entries):
            return
        self._unmeasured = 0
        sizes = {
            key: future.result().memory_bytes
            for key, future in self._entries.items()
            if future.done()
        }
        total = sum(sizes.values())
        for key, size in sizes.items():
            if total <= self._max_bytes or key == newest:
                return
            del self._entries[key]
            total -= size
