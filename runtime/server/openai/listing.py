"""Lists in pages, as OpenAI's API turns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import RequestError
from .job_database import Batch, StoredFile


def page(
    rows: Sequence[StoredFile | Batch], query: Mapping[str, str], default_limit: int
) -> dict[str, Any]:
    """The rows behind ``after``, at most ``limit`` of them.

    Args:
        rows: the latest first.
        query: parameters of the URL: ``limit``, ``after`` and ``order``.
        default_limit: where the client gives none; also the most it may ask for.

    Raises:
        RequestError: a parameter is wrong.
    """
    limit = query.get("limit", str(default_limit))
    if not limit.isdecimal() or not 1 <= int(limit) <= max(default_limit, 100):
        raise RequestError(
            f"limit must be in [1, {max(default_limit, 100)}], got {limit!r}", param="limit"
        )
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise RequestError(f"order must be asc or desc, got {order!r}", param="order")
    ordered = list(rows) if order == "desc" else list(reversed(rows))
    after = query.get("after")
    if after is not None:
        places = [place for place, row in enumerate(ordered) if row.id == after]
        if not places:
            raise RequestError(f"after: there is no {after!r}", param="after")
        ordered = ordered[places[0] + 1 :]
    shown = ordered[: int(limit)]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(shown) < len(ordered),
    }
