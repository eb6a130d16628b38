"""Finds stop strings and stop patterns in the output as its tokens arrive, across token borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sglang_lang.constrained.text_search import TextSearch

TokenBytes = Callable[[int], bytes]


class StopChecker:
    """Watches one request's output bytes for the first of its stops.

    Args:
        stops: non-empty stop strings.
        patterns: regexes that stop the output as soon as it contains a match.
        token_bytes: the bytes that a token id adds to the text.

    Raises:
        GrammarError: a pattern is not supported.
    """

    def __init__(
        self, stops: Sequence[str], patterns: Sequence[str], token_bytes: TokenBytes
    ) -> None:
        self._stops = [(stop.encode(), stop) for stop in stops]
        self._reach = max((len(needle) for needle, _ in self._stops), default=1) - 1
        self._searches = [TextSearch(pattern) for pattern in patterns]
        self._token_bytes = token_bytes
        self._tail = b""
        self._states = [search.start for search in self._searches]

    def feed(self, token_id: int) -> str | None:
        """Take the next output token; return the stop that it completes, if any."""
        new = self._token_bytes(token_id)
        text = self._tail + new
        hits = [(text.find(needle), stop) for needle, stop in self._stops]
        found = [hit for hit in hits if hit[0] >= 0]
        if found:
            return min(found)[1]
        self._tail = text[-self._reach :] if self._reach else b""
        for i, search in enumerate(self._searches):
            self._states[i] = search.step(self._states[i], new)
            if search.found(self._states[i]):
                return search.pattern
        return None

    def rewind(self, kept_ids: Sequence[int]) -> None:
        """Forget what was fed after ``kept_ids``, the output tokens that remain."""
        self._tail = b""
        self._states = [search.start for search in self._searches]
        for token_id in kept_ids:
            self.feed(token_id)
