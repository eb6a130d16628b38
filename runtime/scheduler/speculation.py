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
    fails cuts it to what was accepted and one more. In a small batch a step waits for the weights,
    and drafted rows are nearly free; in a large one they cost their share of its computation.

    Args:
        num_draft_tokens: longest draft.
        min_match: fewest tokens that must have stood before, for a draft.
        max_batch: most requests in a step that has drafts.
    """

    def __init__(self, num_draft_tokens: int, min_match: int, max_batch: int) -> None:
        self._num_draft_tokens = num_draft_tokens
        self._min_match = min_match
        self._max_batch = max_batch

    def may_serve(self, reqs: list[Req]) -> bool:
        """Whether one of the requests of a step may have drafts in the next one."""
        return len(reqs) <= self._max_batch and any(self._serves(req) for req in reqs)

    def extend(self, parts: list[Part], free_slots: int, page_size: int) -> None:
        """Put drafts behind parts that decode one token, where slots for them are free anyway."""
        if len(parts) > self._max_batch:
            return
        free_slots -= sum(part.length + page_size for part in parts)
        for part in parts:
            if part.length == 1 and part.samples and not part.req.pending and free_slots > 0:
                part.draft = self._draft(part.req, free_slots)
                part.length += len(part.draft)
                free_slots -= len(part.draft)

    def _serves(self, req: Req) -> bool:
        """Penalties depend on every token before, so they allow no drafts."""
        return not req.params.has_penalties and req.output_len >= req.draft_again_at

    def _draft(self, req: Req, most: int) -> list[int]:
        if not self._serves(req):
            return []
        most = min(most, req.draft_len or self._num_draft_tokens, req.remaining_len - 1)
        draft = propose(req.token_array(len(req.tokens)), most, self._min_match)
        return _admitted(req, draft)

    def learn(self, req: Req, drafted: int, accepted: int) -> None:
        """A draft of ``drafted`` tokens was verified: the next is as long as seems worth it."""
        req.num_drafts += 1
        req.drafted_tokens += drafted
        req.accepted_tokens += accepted
        if accepted == drafted:
            req.draft_len = min(2 * drafted, self._num_draft_tokens)
        elif accepted or drafted > 1:
            req.draft_len = accepted + 1
        else:
            req.draft_again_at = req.output_len + PAUSE_TOKENS


def propose(tokens: npt.NDArray[np.int32], most: int, min_match: int) -> list[int]:
    """``most`` tokens as they followed the longest earlier copy of the last tokens.

    Of copies of the same length the latest counts; what followed it is repeated where it is too
    short. Nothing if fewer than ``min_match`` tokens match.

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
    copy = tokens[int(ends[-1]) + 1 :]
    drafted: list[int] = np.resize(copy, most).tolist()
    return drafted


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
