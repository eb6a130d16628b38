"""Plans the next step: every running request, then new ones as far as tokens and memory allow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .batch import Batch, Part
from .kv_cache import KVCache
from .new_token_ratio import NewTokenRatio
from .policy import SchedulePolicy, fair_order, is_old, take_out
from .req import Req
from .sharing import FillingPrompts
from .speculation import NgramSpeculation


@dataclass(slots=True)
class Queues:
    """The requests a scheduler holds. A request is in exactly one of the two."""

    waiting: list[Req]  # in the order of arrival; what was retracted comes first
    running: list[Req]  # holds KV slots; in the order of admission


class _Stuck(NamedTuple):
    """A request whose turn it is but that does not fit, and the queue it was found in."""

    req: Req
    newest: Req
    num_waiting: int


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
        speculation: drafts tokens for those who decode, or None.

    Attributes:
        policy: the same.
        victims: running requests that a waiting one displaces; to be retracted before the next
            step is planned.
    """

    def __init__(
        self,
        kv: KVCache,
        policy: SchedulePolicy,
        chunk_size: int,
        max_running: int,
        conservativeness: float,
        speculation: NgramSpeculation | None = None,
    ) -> None:
        self.policy = policy
        self.victims: list[Req] = []
        self.new_token_ratio = NewTokenRatio(conservativeness)
        self._kv = kv
        self._chunk_size = chunk_size
        self._stuck: _Stuck | None = None
        self.max_running = max_running
        self._speculation = speculation

    def plan_running(self, running: list[Req]) -> tuple[list[Part], int]:
        """Parts of the running requests and the budget that remains for new ones.

        Nothing is allocated and no request is changed.
        """
        parts: list[Part] = []
        several: list[Req] = []  # with more than one token to compute
        for req in running:
            known = len(req.tokens)
            missing = known + req.pending - req.kv_len
            if missing > 1:
                several.append(req)
            elif missing == 0 or (req.pending and known + req.pending >= req.most_tokens):
                continue  # it only waits for its last token
            elif req.kv_len >= req.score_end:
                parts.append(Part(req, req.kv_len, 1, True))
            else:
                parts.append(_part(req, 1))
        budget = self._chunk_size
        # Forced text of a running stream is short and goes before the chunks of new prompts.
        several.sort(key=lambda req: req.kv_len < req.prompt_len)
        for req in several:
            if not budget:
                break
            parts.append(_part(req, min(req.extend_len, budget)))
            budget -= parts[-1].length
        if self._speculation is not None:
            self._speculation.extend(parts, self._kv.free(), self._kv.page_size)
        return parts, budget

    def may_draft(self, reqs: list[Req]) -> bool:
        """Whether drafts might follow the tokens that these requests' step gives."""
        return self._speculation is not None and self._speculation.may_serve(reqs)

    def grow(self, parts: list[Part]) -> bool:
        """Give every part its KV slots; False if there are too few even after evicting."""
        ones: list[Req] = []
        others: list[Part] = []
        for part in parts:
            if part.length == 1 and part.start == part.req.alloc_len > 0:
                ones.append(part.req)
            else:
                others.append(part)
        if not self._kv.grow_by_one(ones):
            return False
        return all(self._kv.grow(part.req, part.start + part.length) for part in others)

    def admit(self, queues: Queues, budget: int) -> list[Part]:
        """Move waiting requests to the running ones and return their first parts."""
        running = queues.running
        has_place = len(running) < self.max_running or self.policy.preemptive
        if not queues.waiting or budget <= 0 or not has_place:
            return []
        promised = sum(self._promised(req) for req in running)
        if self._is_stuck(queues, self._kv.available() - promised):
            return []
        parts: list[Part] = []
        shares = self._kv.shares
        filling = FillingPrompts(req for req in running if shares and self._kv.is_filling(req))
        held = False
        for req in fair_order(self.policy, queues.waiting):
            if budget <= 0:
                break
            if shares and not is_old(req):
                if filling.offer_more(req, self._kv.cached_len(req)):
                    held = True
                    continue
            # Whoever passes a held request may not evict what that one is waiting for.
            room = (self._kv.free() if held else self._kv.available()) - promised
            if not self._fits(req, running, room):
                if not held:
                    self.victims = self._displaced(req, running, room)
                    self._stuck = _Stuck(req, queues.waiting[-1], len(queues.waiting))
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
            running.append(req)
            req.started = req.started or time.monotonic()
            filling.add(req)
        take_out(queues.waiting, [part.req for part in parts])
        return parts

    def _is_stuck(self, queues: Queues, room: int) -> bool:
        """Whether the request whose turn it was still does not fit, and no other has come.

        Spares ordering a long queue in every step.
        """
        stuck, waiting = self._stuck, queues.waiting
        if stuck is None or stuck.req.finish is not None or self.policy.preemptive:
            return False
        if stuck.newest is not waiting[-1] or stuck.num_waiting != len(waiting):
            return False
        return not self._fits(stuck.req, queues.running, room)

    def _fits(self, req: Req, running: Sequence[Req], room: int) -> bool:
        # A matched prefix is locked, and so no longer available: it counts as needed.
        return not running or (len(running) < self.max_running and self._needed(req) <= room)

    def _displaced(self, req: Req, running: Sequence[Req], room: int) -> list[Req]:
        """Running requests whose place and memory suffice for ``req``; none if no such are."""
        if not self.policy.preemptive:
            return []
        preempted = [other for other in reversed(running) if self.policy.preempts(req, other)]
        victims: list[Req] = []
        while preempted:
            victim = self.policy.retracts_first(preempted)
            preempted.remove(victim)
            victims.append(victim)
            room += victim.alloc_len + self._promised(victim)
            remaining = len(running) - len(victims)
            if remaining == 0 or (remaining < self.max_running and self._needed(req) <= room):
                return victims
        return []

    def _needed(self, req: Req) -> int:
        return req.total_len + self._expected_output(req) + self._kv.page_size

    def _promised(self, req: Req) -> int:
        """Slots that a running request is still expected to take."""
        return max(req.total_len - req.alloc_len, 0) + self._expected_output(req)

    def _expected_output(self, req: Req) -> int:
        return int(max(req.remaining_len, 0) * self.new_token_ratio.value)


def launch_parts(parts: list[Part]) -> Batch:
    """Note on the requests that their parts are on the way; later parts build on it."""
    for part in parts:
        req = part.req
        part.jumps = req.jumps
        req.kv_len = part.start + part.length
        if part.score_last >= req.scored_len:
            req.scored_len = part.score_last + 1
        req.pending += part.samples
    return Batch(parts)


def _part(req: Req, length: int) -> Part:
    end = req.kv_len + length
    samples = end == req.total_len and req.ends_when_computed is None
    part = Part(req, req.kv_len, length, samples)
    if req.scored_len < req.score_end:
        part.score_first = max(req.scored_len, req.kv_len + 1)
        part.score_last = min(end, req.score_end - 1)
    if req.request.pooling == "mean":
        part.pool_from = req.kv_len
    elif req.request.pooling == "last" and end == req.prompt_len:
        part.pool_from = end - 1
    return part
