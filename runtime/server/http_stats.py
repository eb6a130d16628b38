"""Counts of HTTP requests and responses, for /metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from starlette.types import Scope

UNKNOWN = "unknown"  # one name for every path that is no route, or labels would never end


@dataclass(slots=True)
class HttpStats:
    """``responses`` by (route, method, status); 499 is a client that left before its answer."""

    active: int = 0
    responses: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def count(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN)
        method = scope["method"] if route != UNKNOWN else UNKNOWN
        self.responses[route, method, status] += 1
