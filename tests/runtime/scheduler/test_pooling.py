"""Pooling requests: one vector per prompt, whatever shares the batch, the cache and the memory."""

from __future__ import annotations

import numpy as np
import pytest

from .test_scheduler import prompts
from .toy import Toy, continuation, request, states


def hidden(prompt: list[int]) -> list[float]:
    """The toy model's hidden states [T]."""
    return [state % 256 for state in states(prompt)]


@pytest.mark.parametrize(
    "toy", [Toy(), Toy(chunk=7, slots=160), Toy(cache=False), Toy(page_size=16, slots=160)], ids=str
)
def test_pools_beside_requests_that_share_its_prefix(toy: Toy) -> None:
    scheduler = toy.build()
    work = prompts(24)
    for i, prompt in enumerate(work):
        if i % 3 == 2:
            scheduler.send(request(str(i), prompt, max_new_tokens=20))
        else:
            pooling = ("mean", "last")[i % 3]
            scheduler.send(request(str(i), prompt, max_new_tokens=0, pooling=pooling))
    scheduler.run()
    for i, prompt in enumerate(work):
        outcome = scheduler.outcomes[str(i)]
        assert outcome.last is not None and outcome.terminal_messages == 1
        pooled = np.frombuffer(outcome.last.pooled, dtype=np.float32)
        if i % 3 == 2:
            assert outcome.ids == continuation(prompt, 20) and not len(pooled)
            continue
        states = hidden(prompt)
        expected = np.mean(states) if i % 3 == 0 else states[-1]
        assert pooled == pytest.approx([expected], rel=1e-5)
        assert outcome.ids == []
    scheduler.check_slots()


def test_the_last_token_is_enough_where_the_rest_is_cached() -> None:
    scheduler = Toy().build()
    prompt = list(range(50))
    for rid, pooling in (("mean", "mean"), ("last", "last"), ("again", "mean")):
        scheduler.send(request(rid, prompt, max_new_tokens=0, pooling=pooling))
        scheduler.run()
    cached = {rid: o.last.cached_tokens for rid, o in scheduler.outcomes.items() if o.last}
    assert cached == {"mean": 0, "last": 49, "again": 0}
