"""N-gram speculation: what once followed the last tokens is drafted, and verified in one step.

A draft costs no second model: it is copied from the request's own prompt and output, where the same
tokens stood before (prompt lookup; Yang et al., "Inference with Reference", section 3). The step
that computes the last token computes the draft behind it as well and samples after each of its
tokens. A drafted token is kept if it is the one that was sampled before it. Every position draws
with the random number it would have drawn with alone, so the text is the one that decoding token by
token gives, greedy or not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .batch import Part
from .req import Req

LONGEST_MATCH = 16  # last tokens that are compared; what matches more is as good
PAUSE_TOKENS = 16  # output tokens without drafts after a draft of one token has failed


class NgramSpeculation:
    """Drafts for the requests of a step as far as that pays.

    A request's drafts grow with its luck: one that is accepted whole doubles the next, one that
    fails cuts it to what was accepted and one more. Extra rows are nearly free while a step waits
    for memory, and cost their share once it computes; ``most_rows`` is where that begins.

    Args:
        num_draft_tokens: longest draft.
        min_match: fewest tokens that must have stood before, for a draft.
        most_rows: tokens in a step beyond which nothing is drafted.
    """

    def __init__(self, num_draft_tokens: int, min_match: int, most_rows: int) -> None:
        self._num_draft_tokens = num_draft_tokens
        self._min_match = min_match
        self._most_rows = most_rows

    def serves(self, req: Req) -> bool:
        """Whether the request's tokens can be drafted: penalties depend on each token before."""
        return not req.params.has_penalties and not req.prefill_only

    def extend(self, parts: list[Part], free_slots: int, page_size: int) -> None:
        """Put drafts behind parts that decode one token, where slots for them are free anyway."""
        rows = sum(part.length for part in parts)
        free_slots -= rows + len(parts) * page_size
        for part in parts:
            most = min(self._most_rows - rows, free_slots)
            if most <= 0:
                return
            if part.length == 1 and part.samples and not part.req.pending:
                part.draft = self._draft(part.req, most)
                part.length += len(part.draft)
                rows += len(part.draft)
                free_slots -= len(part.draft)

    def _draft(self, req: Req, most: int) -> list[int]:
        if not self.serves(req) or req.output_len < req.draft_again_at:
            return []
        most = min(most, req.draft_len or self._num_draft_tokens, req.remaining_len - 1)
        draft = propose(req.token_array(len(req.tokens)), most, self._min_match)
        return _admitted(req, draft)

    def learn(self, req: Req, drafted: int, accepted: int) -> None:
        """A draft of ``drafted`` tokens was verified: the next is as long as seems worth it."""
        req.drafted_tokens += drafted
        req.accepted_tokens += accepted
        if accepted == drafted:
            req.draft_len = min(2 * drafted, self._num_draft_tokens)
        elif accepted or drafted > 1:
            req.draft_len = accepted + 1
        else:
            req.draft_again_at = req.output_len + PAUSE_TOKENS


def propose(tokens: npt.NDArray[np.int32], most: int, min_match: int) -> list[int]:
    """Up to ``most`` tokens that followed the longest earlier copy of the last tokens.

    Of copies of the same length the latest counts. Nothing if fewer than ``min_match`` match.

    Args:
        tokens: [N] token ids.
    """
    if most <= 0:
        return []
    last = len(tokens) - 1
    ends = np.flatnonzero(tokens[:last] == tokens[last])  # where an earlier copy may end
    longest = 1
    while longest < LONGEST_MATCH:
        longer = ends[ends >= longest]
        longer = longer[tokens[longer - longest] == tokens[last - longest]]
        if not len(longer):
            break
        ends, longest = longer, longest + 1
    if not len(ends) or longest < min_match:
        return []
    start = int(ends[-1]) + 1
    copied: list[int] = tokens[start : start + most].tolist()
    return copied


def fill_masks(part: Part, bitmask: npt.NDArray[np.int32], row: int) -> None:
    """Write the grammar's mask of each row that a part samples, from ``bitmask[row]`` on."""
    matcher = part.req.matcher
    assert matcher is not None
    matcher.fill_next_token_bitmask(bitmask, row)
    for next_row, token_id in enumerate(part.draft, row + 1):
        matcher.accept_token(token_id)
        matcher.fill_next_token_bitmask(bitmask, next_row)
    matcher.rollback(len(part.draft))


def _admitted(req: Req, draft: list[int]) -> list[int]:
    """The beginning of a draft that the request's grammar admits, and that does not end it."""
    matcher = req.matcher
    if matcher is None:
        return draft
    count = 0
    for token_id in draft:
        if not matcher.accept_token(token_id):
            break
        if matcher.is_terminated():
            matcher.rollback(1)
            break
        count += 1
    matcher.rollback(count)
    return draft[:count]
