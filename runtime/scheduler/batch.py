"""One step as the scheduler plans it: which requests, which of their tokens; no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from .req import Req


@dataclass(slots=True)
class Part:
    """What one request contributes to a step: its tokens ``start .. start + length``.

    ``samples``: the step computes the last missing KV, so a next token is drawn.
    ``score_first .. score_last``: positions of known tokens whose logprob this step yields (the
    row of position p - 1 predicts token p); empty unless asked for.
    """

    req: Req
    start: int
    length: int
    samples: bool
    score_first: int = 0
    score_last: int = -1

    @property
    def num_scored(self) -> int:
        return max(0, self.score_last - self.score_first + 1)


@dataclass(slots=True)
class Batch:
    """The parts of one step, in the order of its rows."""

    parts: list[Part] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        return sum(part.length for part in self.parts)

    @property
    def sampling(self) -> list[Req]:
        return [part.req for part in self.parts if part.samples]
