"""In-batch sharing: a request waits while another one computes a prefix that it needs as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .req import Req

SHARED_PREFIX_MIN = 32  # tokens worth waiting for another request to fill them


def fills_prefix_of(filling: Sequence[Req], req: Req, cached_len: int) -> bool:
    """Whether a request that is still computing its prompt will soon offer a longer prefix.

    Admitting ``req`` now, with ``cached_len`` tokens, would compute the shared ones twice.
    """
    worth = cached_len + SHARED_PREFIX_MIN
    if req.longest_usable_prefix < worth:
        return False
    mine = np.frombuffer(req.tokens, dtype=np.int32, count=worth)
    for other in filling:
        if other.request.extra_key != req.request.extra_key or other.prompt_len < worth:
            continue
        if np.array_equal(mine, np.frombuffer(other.tokens, dtype=np.int32, count=worth)):
            return True
    return False
