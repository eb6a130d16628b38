"""Pinned prefixes among running requests, under a model that notices any wrong KV slot."""

from __future__ import annotations

import random

import pytest

from sglang_lang.radix_cache.block_store import MemoryStore
from sglang_lang.runtime.messages import Action, ControlReply, ControlRequest

from .toy import Toy, ToyScheduler, continuation, request


def control(scheduler: ToyScheduler, action: Action, tokens: list[int]) -> ControlReply:
    scheduler.send(ControlRequest(id=1, action=action, input_ids=tokens))
    scheduler.scheduler.step()
    (reply,) = (message for message in scheduler.port.sent if isinstance(message, ControlReply))
    scheduler.port.sent.remove(reply)
    scheduler.step()
    return reply


@pytest.mark.parametrize("page_size", [1, 16, 64])
def test_pins_come_and_go_in_a_storm(page_size: int) -> None:
    rng = random.Random(3)
    stems = [[rng.randrange(256) for _ in range(80)] for _ in range(6)]
    toy = Toy(page_size=page_size, slots=352, context_len=192, tier=MemoryStore(1 << 20))
    scheduler = toy.build()
    work: dict[str, list[int]] = {}
    answers: dict[Action, list[bool]] = {"pin_prefix": [], "unpin_prefix": []}
    for i in range(120):
        rid = f"{i}."
        work[rid] = [*rng.choice(stems), *(rng.randrange(256) for _ in range(rng.randrange(60)))]
        scheduler.send(request(rid, work[rid], rng.randrange(1, 20)))
        for _ in range(rng.randrange(5)):
            scheduler.step()
            scheduler.check_slots()
        if rng.random() < 0.4:
            action: Action = "pin_prefix" if rng.random() < 0.6 else "unpin_prefix"
            answers[action].append(control(scheduler, action, rng.choice(stems)).ok)
            scheduler.check_slots()
    scheduler.run()
    scheduler.check_slots()
    assert {*answers["pin_prefix"]} == {*answers["unpin_prefix"]} == {True, False}
    for rid, prompt in work.items():
        assert scheduler.outcomes[rid].ids == continuation(prompt, len(scheduler.outcomes[rid].ids))
        finish = scheduler.outcomes[rid].finish
        assert finish is not None and finish.type == "length"
    scheduler.send(ControlRequest(id=2, action="flush_cache"))
    scheduler.step()
    assert scheduler.kv.allocator.available() == scheduler.capacity


def test_without_a_cache_nothing_can_be_pinned() -> None:
    scheduler = Toy(cache=False).build()
    assert control(scheduler, "pin_prefix", [1, 2, 3]).data == {"pinned_tokens": 0}
