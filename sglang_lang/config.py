"""What holds for all programs of this process."""

from __future__ import annotations

from dataclasses import dataclass

from .backends.base import BaseBackend, HasBackend
from .timeline import Timeline


@dataclass(slots=True)
class GlobalConfig:
    """Set by ``set_default_backend``; ``enable_precache_with_tracing`` warms run_batch's prefix.

    ``timeline`` is told of every program that starts.
    """

    default_backend: HasBackend | None = None
    enable_precache_with_tracing: bool = True
    timeline: Timeline | None = None

    def backend_or_default(self, backend: HasBackend | None) -> BaseBackend:
        chosen = backend or self.default_backend
        if chosen is None:
            raise RuntimeError("no backend: pass backend=, or call sgl.set_default_backend(...)")
        return chosen.as_backend()


global_config = GlobalConfig()
