"""Which HTTP request the code that runs now works for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """``id`` is that of x-request-id; ``traceparent`` the W3C header, if the client sent one."""

    id: str
    traceparent: str | None = None


current: ContextVar[HttpRequest | None] = ContextVar("current", default=None)


@contextmanager
def working_for(request: HttpRequest | None) -> Iterator[None]:
    token = current.set(request)
    try:
        yield
    finally:
        current.reset(token)
