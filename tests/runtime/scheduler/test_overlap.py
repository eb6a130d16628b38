"""Planning a step while the one before computes: what waits for its tokens, and what need not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sglang_lang.runtime.model_executor.model_runner import LaunchedStep
from sglang_lang.runtime.model_executor.step import StepInput, StepResult
from sglang_lang.runtime.scheduler.scheduler import Runner

from .toy import EOS, Toy, continuation, request

PATTERN = r"[a-f]{3,40}"


class Diary:
    """A runner that notes in which order steps are launched and taken in."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._launched = 0
        self.events: list[str] = []

    def launch(self, step: StepInput) -> LaunchedStep:
        self._launched += 1
        self.events.append(f"launch {self._launched}")
        return NotedStep(self._runner.launch(step), self.events, self._launched)

    def close(self) -> None:
        self._runner.close()


class NotedStep(LaunchedStep):
    def __init__(self, launched: LaunchedStep, events: list[str], number: int) -> None:
        super().__init__(launched.step)
        self._launched, self._events, self._number = launched, events, number

    def give_bitmask(self, bitmask: Any) -> None:
        self._events.append(f"mask {self._number}")
        self._launched.give_bitmask(bitmask)

    def result(self) -> StepResult:
        self._events.append(f"take in {self._number}")
        return self._launched.result()


def events_of(toy: Toy, **params: Any) -> list[str]:
    scheduler = toy.build()
    diary = Diary(scheduler.scheduler.runner)
    scheduler.scheduler.runner = diary
    scheduler.send(request("r", [1, 2], 30, **params))
    while len(diary.events) < 12:
        scheduler.step()
    scheduler.run()
    return diary.events


def test_the_next_step_is_launched_before_the_last_ones_tokens_are_known() -> None:
    events = events_of(Toy())
    assert events[:5] == ["launch 1", "launch 2", "take in 1", "launch 3", "take in 2"]


def test_a_mask_is_filled_when_the_token_before_is_known_and_the_step_is_on_its_way() -> None:
    events = events_of(Toy(jump_forward=False), regex=PATTERN)
    assert events[:7] == [
        *("launch 1", "mask 1"),
        *("launch 2", "take in 1", "mask 2"),
        *("launch 3", "take in 2"),
    ]


@pytest.mark.parametrize("params", [{"frequency_penalty": 0.5}, {"regex": PATTERN}], ids=str)
def test_a_step_that_another_token_would_change_is_planned_after_it(params: dict[str, Any]) -> None:
    events = [event for event in events_of(Toy(), **params) if not event.startswith("mask")]
    assert events[:4] == ["launch 1", "take in 1", "launch 2", "take in 2"]


@pytest.mark.parametrize("late", [True, False])
def test_constrained_requests_end_while_the_step_behind_them_runs(late: bool) -> None:
    scheduler = Toy(jump_forward=False, late=late).build()
    for i in range(5):
        scheduler.send(request(f"g{i}", [i], 40, regex=PATTERN, return_logprob=i == 3))
        scheduler.send(request(f"s{i}", [i], 40, regex=PATTERN, stop=["a", "c"]))
        scheduler.send(request(f"free{i}", [i], 40))
    scheduler.run()
    for i in range(5):
        text = bytes(t for t in scheduler.outcomes[f"g{i}"].ids if t != EOS).decode()
        assert re.fullmatch(PATTERN, text)
        assert scheduler.outcomes[f"free{i}"].ids == continuation([i], 40)
    scheduler.check_slots()


def test_kv_still_being_computed_for_a_finished_request_is_not_spoilt_by_the_next_one() -> None:
    """Its row of the slot table is in use until the step that was launched behind its end."""
    first = [1, 2, 3]
    answer = continuation(first, 40)
    scheduler = Toy(max_running=2, late=True).build()
    scheduler.send(request("first", first, 60, stop_token_ids=[answer[9]]))
    while scheduler.outcomes["first"].finish is None:
        scheduler.send(request(f"next{len(scheduler.outcomes)}", [9] * 20, 1))
        scheduler.step()
    scheduler.run()
    history = first + scheduler.outcomes["first"].ids
    scheduler.send(request("turn2", [*history, 77], 5))
    scheduler.run()
    last = scheduler.outcomes["turn2"].last
    assert last is not None and last.cached_tokens == len(history)
    assert scheduler.outcomes["turn2"].ids == continuation([*history, 77], 5)
