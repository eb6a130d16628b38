"""The grammars' masks of a step: a row for each place where a constrained request samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sglang_lang.constrained.batch import fill_batch
from sglang_lang.constrained.matcher import GrammarMatcher

from .batch import Batch, Part

Bitmask = npt.NDArray[np.int32]


def step_masks(batch: Batch, mask_words: int) -> Bitmask | None:
    """[constrained rows, mask_words] int32: the tokens allowed next; None if none is constrained.

    The rows follow the step's sampled ones. Where nothing more is asked of a part, since its
    request has ended or has jumped meanwhile, everything is allowed.
    """
    parts = [part for part in batch.parts if part.samples and part.req.matcher is not None]
    if not parts:
        return None
    bitmask = np.full((sum(part.num_sampled for part in parts), mask_words), -1, dtype=np.int32)
    undrafted: list[GrammarMatcher | None] = [None] * len(bitmask)
    row = 0
    for part in parts:
        if part.req.finish is None and not part.is_void:
            if part.draft:
                _fill(part, bitmask, row)
            else:
                undrafted[row] = part.req.matcher
        row += part.num_sampled
    fill_batch(undrafted, bitmask)
    return bitmask


def _fill(part: Part, bitmask: Bitmask, row: int) -> None:
    """The row before each drafted token and the one behind the last, from ``bitmask[row]`` on."""
    matcher = part.req.matcher
    assert matcher is not None
    matcher.fill_next_token_bitmask(bitmask, row)
    for next_row, token_id in enumerate(part.draft, row + 1):
        matcher.accept_token(token_id)
        matcher.fill_next_token_bitmask(bitmask, next_row)
    matcher.rollback(len(part.draft))
