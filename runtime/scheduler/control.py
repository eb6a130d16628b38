"""Answers questions about a scheduler, and keeps the prefixes that are asked to be kept."""

from __future__ import annotations

from ..messages import ControlReply, ControlRequest, SchedulerMetrics
from .metrics import Measured


class Control:
    """What a ``ControlRequest`` may ask, but for the end of the scheduler.

    Args:
        parts: of the scheduler.
    """

    def __init__(self, parts: Measured) -> None:
        self._parts = parts

    def answer(self, request: ControlRequest) -> ControlReply:
        ok, message = True, ""
        data: dict[str, object] = {}
        metrics: SchedulerMetrics | None = None
        match request.action:
            case "flush_cache":
                ok, message = self._parts.admin.flush_cache()
            case "stats":
                data = self._parts.snapshot()
            case "metrics":
                metrics = self._parts.metrics()
            case "radix_tree":
                data = self._parts.kv.tree(request.most_nodes)
            case "pin_prefix":
                pinned = self._parts.kv.pin(request.input_ids, request.extra_key)
                ok, data = pinned is not None, {"pinned_tokens": pinned}
            case "unpin_prefix":
                ok = self._parts.kv.prefix_cache.unpin(request.input_ids, request.extra_key)
        return ControlReply(id=request.id, ok=ok, message=message, data=data, metrics=metrics)
