"""Any work under any setting: every request gets the tokens it would get alone, slots add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.runtime.messages import AbortRequest, GenerateRequest
from sglang_lang.runtime.scheduler.speculation import NgramSpeculation
from sglang_lang.runtime.server_args import Policy

from .toy import Toy, ToyScheduler, request

STEMS = [[(7 * i + s) % 256 for i in range(70)] for s in (0, 100)]
PATTERNS = (r'\{"id": [0-9]{1,3}, "kind": "(cat|dog|cow)"\}', r"[a-f]{1,30}")


@dataclass(frozen=True)
class Arrival:
    """A request, the steps before it, and after how many steps it is aborted, if it is."""

    stem: int
    stem_len: int
    tail: tuple[int, ...]
    max_new_tokens: int
    priority: int = 0
    pattern: str | None = None
    logprobs: bool = False
    penalty: float = 0.0
    steps_before: int = 0
    aborted_after: int | None = field(default=None, compare=False)

    def message(self, rid: str) -> GenerateRequest:
        prompt = [*STEMS[self.stem][: self.stem_len], *self.tail]
        return request(
            rid,
            prompt,
            self.max_new_tokens,
            priority=self.priority,
            regex=self.pattern,
            return_logprob=self.logprobs,
            logprob_start_len=0 if self.logprobs else None,
            frequency_penalty=self.penalty,
            stream=self.priority % 2 == 0,
        )


@cache
def tokens_alone(arrival: Arrival) -> list[int]:
    """What it gets with nothing beside it and nothing clever switched on."""
    scheduler = Toy(cache=False, overlap=False, chunk=512).build()
    scheduler.send(arrival.message("alone"))
    scheduler.run()
    return scheduler.outcomes["alone"].ids


arrivals = st.builds(
    Arrival,
    stem=st.integers(0, 1),
    stem_len=st.sampled_from([0, 5, 40, 66, 70]),
    tail=st.lists(st.integers(0, 255), min_size=1, max_size=6).map(tuple),
    max_new_tokens=st.sampled_from([0, 1, 2, 9, 40]),
    priority=st.integers(0, 3),
    pattern=st.sampled_from([None, None, *PATTERNS]),
    logprobs=st.booleans(),
    penalty=st.sampled_from([0.0, 0.0, 0.0, 0.5]),
    steps_before=st.sampled_from([0, 0, 0, 1, 3]),
    aborted_after=st.none() | st.integers(0, 8),
)
toys = st.builds(
    Toy,
    slots=st.sampled_from([160, 256, 2048]),
    page_size=st.sampled_from([1, 16]),
    chunk=st.sampled_from([5, 32, 256]),
    max_running=st.sampled_from([1, 3, 8]),
    cache=st.booleans(),
    overlap=st.booleans(),
    policy=st.sampled_from(get_args(Policy)),
    preemption_threshold=st.integers(0, 2),
    jump_forward=st.booleans(),
    late=st.booleans(),
    speculation=st.none()
    | st.builds(NgramSpeculation, st.integers(1, 6), st.just(1), st.sampled_from([2, 8])),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(toys, st.lists(arrivals, min_size=1, max_size=10))
def test_every_request_gets_its_own_tokens_whatever_happens_around_it(
    toy: Toy, work: list[Arrival]
) -> None:
    scheduler = toy.build()
    aborts: dict[int, list[str]] = {}
    now = 0
    for i, arrival in enumerate(work):
        for _ in range(arrival.steps_before):
            _step(scheduler, aborts.pop(now, ()))
            now += 1
        scheduler.send(arrival.message(str(i)))
        if arrival.aborted_after is not None:
            aborts.setdefault(now + arrival.aborted_after, []).append(str(i))
    while aborts:
        _step(scheduler, aborts.pop(now, ()))
        now += 1
    scheduler.run()
    scheduler.check_slots()
    for i, arrival in enumerate(work):
        outcome, expected = scheduler.outcomes[str(i)], tokens_alone(arrival)
        assert outcome.terminal_messages == 1 and outcome.finish is not None
        if outcome.finish.type == "abort":
            assert arrival.aborted_after is not None
            assert outcome.ids == expected[: len(outcome.ids)]
        else:
            assert outcome.ids == expected
            if arrival.logprobs:
                prompt_len = arrival.stem_len + len(arrival.tail)
                assert len(outcome.input_logprobs) == prompt_len
                assert len(outcome.output_logprobs) == len(expected)
    scheduler.scheduler.step()
    scheduler.scheduler.kv.prefix_cache.reset()
    assert scheduler.kv.allocator.available() == scheduler.capacity


def _step(scheduler: ToyScheduler, rids: Sequence[str]) -> None:
    for rid in rids:
        scheduler.send(AbortRequest(rid_prefix=rid, exact=True))
    scheduler.step()
    scheduler.check_slots()
