"""In-batch sharing: a request waits while another one computes a prefix that it needs as well."""

from __future__ import annotations

from collections.abc import Iterable

from .req import Req

SHARED_PREFIX_MIN = 32  # tokens worth waiting for another request to fill them


class FillingPrompts:
    """Prompts that running requests are still computing, found by how they begin.

    Tokens are compared as bytes: one memcmp instead of a loop.
    """

    def __init__(self, reqs: Iterable[Req]) -> None:
        self._prompts: dict[tuple[str | None, bytes], list[bytes]] = {}
        for req in reqs:
            self.add(req)

    def add(self, req: Req) -> None:
        if req.prompt_len >= SHARED_PREFIX_MIN:
            tokens = req.tokens[: req.prompt_len].tobytes()
            self._prompts.setdefault(_beginning(req), []).append(tokens)

    def offer_more(self, req: Req, cached_len: int) -> bool:
        """Whether one of them will soon offer ``req`` more than the ``cached_len`` it could have.

        Admitting it now would compute the shared tokens twice.
        """
        worth = cached_len + SHARED_PREFIX_MIN
        if req.longest_usable_prefix < worth:
            return False
        alike = self._prompts.get(_beginning(req))
        if alike is None:
            return False
        wanted = req.tokens[:worth].tobytes()
        return any(prompt.startswith(wanted) for prompt in alike)


def _beginning(req: Req) -> tuple[str | None, bytes]:
    """Whatever shares enough to be worth waiting for shares this."""
    return req.request.extra_key, req.tokens[:SHARED_PREFIX_MIN].tobytes()
