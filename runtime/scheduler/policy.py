"""In which order waiting requests are admitted: one small class a policy."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sglang_lang.radix_cache.radix_tree import TOKEN_BYTES

from .kv_cache import KVCache
from .req import Req

WINDOW = 256  # waiting requests whose cached prefix is looked up in one step
MAX_PASSED_OVER = 256  # later requests that may be admitted before one that waits


class SchedulePolicy(ABC):
    """Orders waiting requests; it is given them in the order of their arrival."""

    preemptive: ClassVar[bool] = False  # whether ``preempts`` may ever be true

    @abstractmethod
    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        """Those to admit next, first one first. It may leave out later arrivals."""

    def preempts(self, waiting: Req, running: Req) -> bool:
        """Whether the running request must make room for the waiting one."""
        return False

    def retracts_first(self, running: Sequence[Req]) -> Req:
        """Which request gives its memory back when there is too little: the least is lost."""
        return min(running, key=lambda req: (req.output_len, -req.prompt_len))


class FirstComeFirstServed(SchedulePolicy):
    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        return waiting


class LongestPrefixMatch(SchedulePolicy):
    """Longest cached prefix first.

    That is depth-first order of the prefix tree, and so optimal for the hit rate (Zheng et al.,
    SGLang, theorem 3.1).
    """

    def __init__(self, kv: KVCache) -> None:
        self._kv = kv

    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        return sorted(waiting[:WINDOW], key=self._kv.cached_len, reverse=True)


class DepthFirstWeight(SchedulePolicy):
    """Depth first through the trees of the waiting prompts, one tree for each namespace.

    Of the branches at a fork the cached one goes first, then the one that most requests wait for.
    Namespaces go as their first requests came: no tenant's place tells what another has cached.
    """

    def __init__(self, kv: KVCache) -> None:
        self._kv = kv

    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        trees: dict[str | None, list[_Leaf]] = {}
        for req in waiting[:WINDOW]:
            leaf = _Leaf(req.tokens.tobytes(), req, self._kv.cached_len(req))
            trees.setdefault(req.request.extra_key, []).append(leaf)
        ordered: list[Req] = []
        for leaves in trees.values():
            leaves.sort(key=lambda leaf: leaf.key)
            ordered += _depth_first(leaves, 0)
        return ordered


class LongestOutputFirst(SchedulePolicy):
    """The most output still to come first, so that no long request is left running alone."""

    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        return sorted(waiting, key=lambda req: req.remaining_len, reverse=True)


class RandomOrder(SchedulePolicy):
    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)

    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        return self._random.sample(waiting, len(waiting))


class HighestPriority(SchedulePolicy):
    """The request with the greatest ``priority`` first, among equals the earlier one.

    Args:
        threshold: a waiting request whose priority is greater by more than this takes the place
            of a running one, which goes back to the queue with its output.
    """

    preemptive = True

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold

    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        return sorted(waiting, key=_priority, reverse=True)

    def preempts(self, waiting: Req, running: Req) -> bool:
        return not is_old(running) and _priority(waiting) - _priority(running) > self._threshold

    def retracts_first(self, running: Sequence[Req]) -> Req:
        def loss(req: Req) -> tuple[bool, int, int, int]:
            return is_old(req), _priority(req), req.output_len, -req.prompt_len

        return min(running, key=loss)


def schedule_policy(
    name: str, kv: KVCache, preemption_threshold: int, seed: int | None
) -> SchedulePolicy:
    """The policy of that name, one of ``server_args.Policy``."""
    match name:
        case "fcfs":
            return FirstComeFirstServed()
        case "lpm":
            return LongestPrefixMatch(kv)
        case "dfs-weight":
            return DepthFirstWeight(kv)
        case "lof":
            return LongestOutputFirst()
        case "random":
            return RandomOrder(seed)
        case "priority":
            return HighestPriority(preemption_threshold)
    raise ValueError(f"no schedule policy is called {name!r}")


# --------------------------------------------------------------------------- fairness


def is_old(req: Req) -> bool:
    """Whether so many later requests were admitted first that it is its turn now."""
    return req.passed_over >= MAX_PASSED_OVER


def fair_order(policy: SchedulePolicy, waiting: Sequence[Req]) -> Sequence[Req]:
    """The policy's order, but background requests last, and old ones first: none waits for ever."""
    old = [req for req in waiting if is_old(req)]
    background = [req for req in waiting if _priority(req) < 0 and not is_old(req)]
    if not old and not background:
        return policy.order(waiting)
    others = [req for req in waiting if _priority(req) >= 0 and not is_old(req)]
    return [*old, *policy.order(others), *policy.order(background)]


def take_out(waiting: list[Req], admitted: Sequence[Req]) -> None:
    """Remove the admitted requests from the queue; those they have passed take note of it."""
    chosen = {id(req) for req in admitted}
    kept: list[Req] = []
    later = len(chosen)  # admitted requests from here on
    index = 0
    while later:
        req = waiting[index]
        index += 1
        if id(req) in chosen:
            later -= 1
        else:
            req.passed_over += later
            kept.append(req)
    waiting[:index] = kept


# --------------------------------------------------------------------------- depth first


@dataclass(slots=True)
class _Leaf:
    key: bytes  # the tokens, four bytes each: sorted by them, those of one subtree are neighbours
    req: Req
    cached_len: int


def _depth_first(leaves: list[_Leaf], depth: int) -> Iterator[Req]:
    """The requests of the subtree of sorted leaves that share their first ``depth`` bytes."""
    depth = _common_len(leaves[0].key, leaves[-1].key, depth)
    branches: dict[bytes, list[_Leaf]] = {}
    for leaf in leaves:
        branches.setdefault(leaf.key[depth : depth + TOKEN_BYTES], []).append(leaf)
    if len(branches) == 1:  # equal prompts
        yield from (leaf.req for leaf in leaves)
        return
    for branch in sorted(branches.values(), key=_weight, reverse=True):
        yield from _depth_first(branch, depth)


def _weight(branch: list[_Leaf]) -> tuple[int, int]:
    return max(leaf.cached_len for leaf in branch), len(branch)


def _common_len(a: bytes, b: bytes, start: int) -> int:
    """Bytes, in whole tokens, that two keys share, of which they share the first ``start``."""
    end = min(len(a), len(b))
    count = (end - start) // TOKEN_BYTES
    ours, theirs = (np.frombuffer(key, np.int32, count, start) for key in (a, b))
    differs = ours != theirs
    return start + TOKEN_BYTES * int(differs.argmax()) if differs.any() else end


def _priority(req: Req) -> int:
    return req.request.priority
