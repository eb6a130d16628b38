"""When programs, their forks and their calls ran, as a Chrome trace (chrome://tracing, Perfetto).

Each program and each fork is a lane; its calls lie in it, and an arrow leads from a program to
its forks.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .origins import Call, calls_of

if TYPE_CHECKING:
    from .executor import StreamExecutor

Event = dict[str, Any]


@dataclass(slots=True)
class Lane:
    """A program or a fork, by its number in the trace."""

    number: int
    title: str
    executor: StreamExecutor
    parent: Lane | None
    start: float = field(default_factory=time.perf_counter)


class Timeline:
    """Collects the programs of a process; ``write`` makes a file of them."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._lanes: dict[int, Lane] = {}  # by the identity of the executor, which the lane holds
        self._lock = threading.Lock()

    def program(self, executor: StreamExecutor, title: str) -> None:
        """A program starts."""
        self._add(executor, title, None)

    def forks(self, parent: StreamExecutor, children: list[StreamExecutor]) -> None:
        """A program goes on as several."""
        lane = self._lanes[id(parent)]
        for index, child in enumerate(children):
            self._add(child, f"{lane.title} fork {index}", lane)

    def _add(self, executor: StreamExecutor, title: str, parent: Lane | None) -> None:
        with self._lock:
            lane = Lane(len(self._lanes) + 1, title, executor, parent)
            self._lanes[id(executor)] = lane

    def write(self, path: Path) -> int:
        """Write the trace; returns the number of calls in it."""
        events = list(self.events())
        path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
        return sum(event.get("cat") == "call" for event in events)

    def events(self) -> Iterator[Event]:
        """In the Trace Event Format: complete events (X), flows (s, f) and names (M)."""
        now = time.perf_counter()
        yield self._name("process_name", 0, "sglang_lang")
        for lane in list(self._lanes.values()):
            yield self._name("thread_name", lane.number, lane.title)
            end = lane.executor.finished or now
            arguments: dict[str, Any] = {"error": str(lane.executor.error or "none")}
            yield self._span(lane, "program", lane.title, lane.start, end, arguments)
            if lane.parent is not None:
                yield from self._arrow(lane.parent, lane)
            for call in calls_of(lane.executor.transcript.added):
                name = f"{'gen' if call.kind == 'generated' else 'select'} {call.name or ''}"
                arguments = _arguments(call)
                yield self._span(lane, "call", name.strip(), call.start, call.end or end, arguments)

    def _name(self, kind: str, number: int, name: str) -> Event:
        return self._event("M", number, kind) | {"args": {"name": name}}

    def _span(
        self, lane: Lane, category: str, name: str, start: float, end: float, args: dict[str, Any]
    ) -> Event:
        return self._event("X", lane.number, name) | {
            "cat": category,
            "ts": self._microseconds(start),
            "dur": max(round((end - start) * 1e6, 1), 0.1),
            "args": args,
        }

    def _arrow(self, parent: Lane, child: Lane) -> Iterator[Event]:
        at = self._microseconds(child.start)
        common = {"cat": "fork", "id": child.number, "ts": at}
        yield self._event("s", parent.number, "fork") | common
        yield self._event("f", child.number, "fork") | common | {"bp": "e"}

    def _event(self, phase: str, number: int, name: str) -> Event:
        return {"ph": phase, "pid": os.getpid(), "tid": number, "name": name}

    def _microseconds(self, moment: float) -> float:
        return round((moment - self._start) * 1e6, 1)


def _arguments(call: Call) -> dict[str, Any]:
    known = ("prompt_tokens", "cached_tokens", "completion_tokens", "forced_tokens")
    return {name: call.meta_info[name] for name in known if name in call.meta_info}
