"""One step as the scheduler plans it: which requests, which of their tokens; no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from .req import Req


@dataclass(slots=True)
class Part:
    """What one request contributes to a step: its tokens ``start .. start + length``.

    ``samples``: the step computes the last missing KV, so a next token is drawn.
    ``score_first .. score_last``: positions of known tokens whose logprob this step yields (the
    row of position p - 1 predicts token p); empty unless asked for. ``pool_from``: position from
    which on this step's hidden states are summed for the request; None for not at all.
    ``draft``: guessed tokens at the part's end, to be verified; each is sampled after as well.
    ``jumps``: those of the request when the part was launched.
    """

    req: Req
    start: int
    length: int
    samples: bool
    score_first: int = 0
    score_last: int = -1
    pool_from: int | None = None
    draft: list[int] = field(default_factory=list)
    jumps: int = 0

    @property
    def is_void(self) -> bool:
        """Whether it samples after tokens that are no longer the last: forced ones came since."""
        return self.jumps != self.req.jumps

    @property
    def num_sampled(self) -> int:
        return 1 + len(self.draft) if self.samples else 0


class Batch:
    """The parts of one step, in the order of its rows.

    ``sampling`` holds the request of each sampled row; one with a draft has several.
    """

    __slots__ = ("parts", "sampling", "num_tokens")

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.sampling = [part.req for part in parts for _ in range(part.num_sampled)]
        self.num_tokens = sum([part.length for part in parts])
