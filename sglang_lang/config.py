"""What holds for all programs of this process."""

from __future__ import annotations

from dataclasses import dataclass

from .backends.base import BaseBackend, HasBackend
from .timeline import Timeline


@dataclass(slots=True)
class GlobalConfig:
    """Settings under SGLang's names.

    Args:
        verbosity: from 2 on the text of every program that has run is logged.
        default_backend: set by ``set_default_backend``.
        skip_special_tokens_in_output: of runtimes; False shows them in what is generated.
        spaces_between_special_tokens_in_out: of runtimes.
        enable_precache_with_tracing: compute ahead what every run of a batch begins with.
        enable_parallel_encoding: for programs that set it; a join always finds in the runtime's
            cache what is there at the right positions, and its text is the same either way.
        timeline: is told of every program that starts.
    """

    verbosity: int = 0
    default_backend: HasBackend | None = None
    skip_special_tokens_in_output: bool = True
    spaces_between_special_tokens_in_out: bool = True
    enable_precache_with_tracing: bool = True
    enable_parallel_encoding: bool = True
    timeline: Timeline | None = None

    def backend_or_default(self, backend: HasBackend | None) -> BaseBackend:
        chosen = backend or self.default_backend
        if chosen is None:
            raise RuntimeError("no backend: pass backend=, or call sgl.set_default_backend(...)")
        check_backend(chosen)
        return chosen.as_backend()


def check_backend(chosen: HasBackend) -> None:
    """TypeError for what is none, such as the URL of one."""
    if not hasattr(chosen, "as_backend"):
        raise TypeError(
            f"a backend is one of sgl.RuntimeEndpoint(url), sgl.Engine(...), sgl.OpenAI(model), "
            f"..., not {type(chosen).__name__}: {chosen!r}"
        )


global_config = GlobalConfig()
