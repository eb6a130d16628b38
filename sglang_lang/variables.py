"""The variables of a run, and what the run cost."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Variable:
    """A value that some expression will give."""

    value: Future[Any] = field(default_factory=Future)
    meta_info: Any = None
    partial: str = ""  # while it streams


@dataclass(slots=True)
class Usage:
    """What a run cost, as its backend counted."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    forced_tokens: int = 0
    saved_calls: int = 0  # values that the model had written ahead

    def count(self, meta: dict[str, Any]) -> None:
        self.calls += meta.get("calls", 1)
        self.prompt_tokens += meta.get("prompt_tokens") or 0
        self.cached_tokens += meta.get("cached_tokens") or 0
        self.completion_tokens += meta.get("completion_tokens") or 0
        self.forced_tokens += meta.get("forced_tokens") or 0
        self.saved_calls += meta.get("saved_calls") or 0

    def add(self, other: Usage) -> None:
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.completion_tokens += other.completion_tokens
        self.forced_tokens += other.forced_tokens
        self.saved_calls += other.saved_calls
