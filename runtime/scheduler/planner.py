"""Plans the next step: every running request, then new ones as far as tokens and memory allow."""

from __future__ import annotations

from dataclasses import dataclass

from .batch import Batch, Part
from .kv_cache import KVCache
from .policy import NewTokenRatio, SchedulePolicy, fills_prefix_of
from .req import Req


@dataclass(slots=True)
class Queues:
    """The requests a scheduler holds. A request is in exactly one of the two."""

    waiting: list[Req]
    running: list[Req]  # holds KV slots; in the order of admission


class Planner:
    """Chooses the parts of a step.

    Decode and chunked prefill share a step, so that a long prompt never stalls running streams
    for more than one chunk (Agrawal et al., Sarathi-Serve, section 4).

    Args:
        kv: slots of the running requests.
        policy: order of the waiting queue.
        chunk_size: most tokens of prompts and forced text in one step.
        max_running: most requests that run at once.
        conservativeness: scales how much output is reserved at admission.
    """

    def __init__(
        self,
        kv: KVCache,
        policy: SchedulePolicy,
        chunk_size: int,
        max_running: int,
        conservativeness: float,
    ) -> None:
        self._kv = kv
        self._policy = policy
        self._chunk_size = chunk_size
        self._max_running = max_running
        self.new_token_ratio = NewTokenRatio(conservativeness)

    def plan_running(self, running: list[Req]) -> tuple[list[Part], int]:
        """Parts of the running requests and the budget that remains for new ones.

        Nothing is allocated and no request is changed.
        """
        budget = self._chunk_size
        parts: list[Part] = []
        for req in running:
            missing = req.extend_len
            if missing == 0 or (req.pending and req.remaining_len <= 0):
                continue  # it only waits for its last token
            length = missing
            if missing > 1:
                length = min(missing, budget)
                budget -= length
                if not length:
                    continue
            parts.append(_part(req, length))
        return parts, budget

    def grow(self, parts: list[Part]) -> bool:
        """Give every part its KV slots; False if there are too few even after evicting."""
        ones = [p.req for p in parts if p.length == 1 and p.start == p.req.alloc_len > 0]
        if not self._kv.grow_by_one(ones):
            return False
        return all(self._kv.grow(part.req, part.start + part.length) for part in parts)

    def admit(self, queues: Queues, budget: int) -> list[Part]:
        """Move waiting requests to the running ones and return their first parts."""
        parts: list[Part] = []
        filling = [req for req in queues.running if req.kv_len < req.prompt_len]
        promised = sum(self._promised(req) for req in queues.running) if queues.waiting else 0
        for candidate in self._policy.candidates(queues.waiting):
            if budget <= 0 or len(queues.running) >= self._max_running:
                break
            req = candidate.req
            if self._kv.shares and fills_prefix_of(filling, candidate):
                continue
            # A matched prefix is locked, and so no longer available: it counts as needed.
            needed = req.total_len + self._expected_output(req) + self._kv.page_size
            if queues.running and promised + needed > self._kv.available():
                break
            if not self._kv.is_ready(req):
                continue
            if not self._kv.admit(req):
                break
            part = _part(req, min(req.extend_len, budget))
            if not self._kv.grow(req, part.start + part.length):
                self._kv.release(req)
                break
            budget -= part.length
            promised += self._promised(req)
            parts.append(part)
            queues.running.append(req)
            filling.append(req)
        if parts:
            admitted = {id(part.req) for part in parts}
            queues.waiting[:] = [req for req in queues.waiting if id(req) not in admitted]
            for req in queues.waiting:
                req.passed_over += 1
        return parts

    def _promised(self, req: Req) -> int:
        """Slots that a running request is still expected to take."""
        return max(req.total_len - req.alloc_len, 0) + self._expected_output(req)

    def _expected_output(self, req: Req) -> int:
        return int(max(req.remaining_len, 0) * self.new_token_ratio.value)


def launch_parts(parts: list[Part]) -> Batch:
    """Note on the requests that their parts are on the way; later parts build on it."""
    for part in parts:
        req = part.req
        req.kv_len = part.start + part.length
        req.scored_len = max(req.scored_len, part.score_last + 1)
        req.pending += part.samples
    return Batch(parts)


def _part(req: Req, length: int) -> Part:
    end = req.kv_len + length
    samples = end == req.total_len and not req.prefill_only
    part = Part(req, req.kv_len, length, samples)
    if req.scored_len < req.prompt_len:
        part.score_first = max(req.scored_len, req.kv_len + 1)
        part.score_last = min(end, req.prompt_len - 1)
    return part
