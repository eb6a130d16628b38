"""Finds stop strings in the output as its tokens arrive, also across token borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

TokenBytes = Callable[[int], bytes]


class StopChecker:
    """Watches one request's output bytes for the first of its stop strings.

    Args:
        stops: non-empty stop strings.
        token_bytes: the bytes that a token id adds to the text.
    """

    def __init__(self, stops: Sequence[str], token_bytes: TokenBytes) -> None:
        self._stops = [(stop.encode(), stop) for stop in stops]
        self._reach = max(len(needle) for needle, _ in self._stops) - 1
        self._token_bytes = token_bytes
        self._tail = b""

    def feed(self, token_id: int) -> str | None:
        """Take the next output token; return the stop string that it completes, if any."""
        new = self._token_bytes(token_id)
        text = self._tail + new
        hits = [(text.find(needle), stop) for needle, stop in self._stops]
        found = [hit for hit in hits if hit[0] >= 0]
        if found:
            return min(found)[1]
        self._tail = text[-self._reach :] if self._reach else b""
        return None

    def rewind(self, kept_ids: Sequence[int]) -> None:
        """Forget what was fed after ``kept_ids``, the output tokens that remain."""
        tail = b""
        for token_id in reversed(kept_ids):
            if len(tail) >= self._reach:
                break
            tail = self._token_bytes(token_id) + tail
        self._tail = tail[-self._reach :] if self._reach else b""
