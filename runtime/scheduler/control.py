"""Answers questions about a scheduler, and keeps the prefixes that are asked to be kept."""

from __future__ import annotations

from collections.abc import Callable

from ..messages import ControlReply, ControlRequest, SchedulerMetrics
from .metrics import Measured, measure, snapshot


class Control:
    """What a ``ControlRequest`` may ask, but for the end of the scheduler.

    Args:
        parts: of the scheduler, to be measured.
        flush_cache: forgets all cached KV; False with a reason if it cannot.
    """

    def __init__(self, parts: Measured, flush_cache: Callable[[], tuple[bool, str]]) -> None:
        self._parts = parts
        self._kv = parts[1]
        self._flush_cache = flush_cache

    def answer(self, request: ControlRequest) -> ControlReply:
        ok, message = True, ""
        data: dict[str, object] = {}
        metrics: SchedulerMetrics | None = None
        match request.action:
            case "flush_cache":
                ok, message = self._flush_cache()
            case "stats":
                data = snapshot(*self._parts)
            case "metrics":
                metrics = measure(*self._parts)
            case "radix_tree":
                data = self._kv.tree(request.most_nodes)
            case "pin_prefix":
                pinned = self._kv.pin(request.input_ids, request.extra_key)
                ok, data = pinned is not None, {"pinned_tokens": pinned}
            case "unpin_prefix":
                ok = self._kv.prefix_cache.unpin(request.input_ids, request.extra_key)
        return ControlReply(id=request.id, ok=ok, message=message, data=data, metrics=metrics)
