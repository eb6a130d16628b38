"""An operator's pauses, on the scheduler whose model notices any wrong KV slot (see toy.py)."""

from __future__ import annotations

import pytest

from sglang_lang.runtime.messages import (
    ContinueGeneration,
    ControlReply,
    ControlRequest,
    PauseGeneration,
    PauseMode,
    ReleaseMemory,
    UpdateWeights,
)

from .toy import Toy, ToyScheduler, continuation, request

PROMPT = [1, 2, 3]


def reply(toy: ToyScheduler) -> ControlReply:
    """What the scheduler answers in its next turn."""
    toy.scheduler.step()
    [found] = [message for message in toy.port.sent if isinstance(message, ControlReply)]
    toy.deliver()
    return found


def started(overlap: bool = True) -> ToyScheduler:
    """With two requests some tokens into their output."""
    toy = Toy(overlap=overlap).build()
    for rid in ("a", "b"):
        toy.send(request(rid, [*PROMPT, ord(rid)], max_new_tokens=20, stream=True))
    for _ in range(6):
        toy.step()
    assert 0 < len(toy.outcomes["a"].ids) < 20
    return toy


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("mode", ["retract", "in_place"])
def test_paused_requests_go_on_where_they_were(mode: PauseMode, overlap: bool) -> None:
    toy = started(overlap=overlap)
    toy.send(PauseGeneration(id=7, mode=mode))
    assert reply(toy).id == 7
    told = {rid: len(outcome.ids) for rid, outcome in toy.outcomes.items()}
    toy.send(request("new", PROMPT, max_new_tokens=3))
    for _ in range(5):
        toy.step()
    assert {rid: len(o.ids) for rid, o in toy.outcomes.items() if rid != "new"} == told
    assert not toy.outcomes["new"].ids
    toy.check_slots()
    toy.send(ContinueGeneration(id=8))
    toy.run()
    for rid in ("a", "b"):
        assert toy.outcomes[rid].ids == continuation([*PROMPT, ord(rid)], 20)
    assert toy.outcomes["new"].ids == continuation(PROMPT, 3)
    toy.check_slots()


def test_aborting_ends_what_runs_and_holds_what_comes() -> None:
    toy = started()
    toy.send(PauseGeneration(mode="abort"))
    toy.step()
    for rid in ("a", "b"):
        finish = toy.outcomes[rid].finish
        assert finish is not None and (finish.type, finish.status_code) == ("abort", 499)
    toy.send(request("new", PROMPT, max_new_tokens=2))
    toy.step()
    toy.step()
    assert toy.outcomes["new"].finish is None
    toy.send(ContinueGeneration())
    toy.run()
    assert toy.outcomes["new"].ids == continuation(PROMPT, 2)


@pytest.mark.parametrize(("mode", "flushes"), [("retract", True), ("in_place", False)])
def test_the_cache_can_be_flushed_while_nothing_holds_it(mode: PauseMode, flushes: bool) -> None:
    toy = started()
    toy.send(PauseGeneration(mode=mode))
    toy.step()
    toy.send(ControlRequest(id=9, action="flush_cache"))
    assert reply(toy).ok is flushes
    toy.send(ContinueGeneration())
    toy.run()
    for rid in ("a", "b"):
        assert toy.outcomes[rid].ids == continuation([*PROMPT, ord(rid)], 20)
    toy.check_slots()


def test_what_has_no_model_of_its_own_refuses() -> None:
    toy = Toy().build()
    toy.send(UpdateWeights(model_path="nowhere"))
    assert not reply(toy).ok
    toy.send(ReleaseMemory(tags=["weights"]))
    assert not reply(toy).ok
