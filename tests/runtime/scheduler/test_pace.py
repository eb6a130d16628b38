from __future__ import annotations

from concurrent.futures import Future

import pytest

from sglang_lang.runtime.messages import GenerateRequest, ToScheduler
from sglang_lang.runtime.model_executor.step import StepResult
from sglang_lang.runtime.scheduler import pace
from sglang_lang.runtime.scheduler.pace import PLAN_AT, StepPace

from .toy import ListPort, Toy, continuation, request


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace, "time", made)
    return made


def patience(step_pace: StepPace, num_tokens: int) -> int:
    """With which it meets a step of so many tokens."""
    step_pace.begin(Future(), num_tokens)
    return step_pace.patience_ms()


def test_planning_waits_for_most_of_what_the_last_step_took(clock: Clock) -> None:
    step_pace = StepPace()
    assert patience(step_pace, 8) == 0  # nothing is known yet
    clock.now += 1.0
    step_pace.end()
    assert patience(step_pace, 8) == pytest.approx(1e3 * PLAN_AT, abs=1)
    assert patience(step_pace, 800) == pytest.approx(1e3 * PLAN_AT, abs=1)
    assert patience(step_pace, 2) == pytest.approx(250 * PLAN_AT, abs=1)
    clock.now += 0.9
    assert step_pace.patience_ms() == 0


def test_planning_waits_for_nothing_once_the_step_is_done(clock: Clock) -> None:
    step_pace = StepPace()
    patience(step_pace, 8)
    clock.now += 1.0
    step_pace.end()
    result: Future[StepResult] = Future()
    step_pace.begin(result, 8)
    assert step_pace.patience_ms() > 0
    result.set_result(StepResult([], [], []))
    assert step_pace.patience_ms() == 0


class LatePort(ListPort):
    """Brings a message while a step computes, not before."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[ToScheduler] = []

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        if timeout_ms and self.late:
            return [self.late.pop()]
        return super().recv(timeout_ms)


class PatientPace(StepPace):
    """Leaves time for two looks at the port."""

    looks = 0

    def begin(self, result: Future[StepResult], num_tokens: int) -> None:
        self.looks = 2

    def patience_ms(self) -> int:
        self.looks -= 1
        return max(0, self.looks)


def test_a_request_that_comes_while_a_step_computes_is_in_the_next_one() -> None:
    scheduler = Toy(late=True).build()
    port = LatePort()
    scheduler.port = scheduler.scheduler._port = port
    scheduler.scheduler._pace = PatientPace()
    scheduler.send(request("first", [1, 2], 30))
    scheduler.step()
    late = request("late", [3, 4], 5)
    assert isinstance(late, GenerateRequest)
    scheduler.outcomes["late"] = type(scheduler.outcomes["first"])()
    port.late.append(late)
    scheduler.step()
    assert [req.rid for req in scheduler.scheduler.queues.running] == ["first", "late"]
    scheduler.run()
    assert scheduler.outcomes["first"].ids == continuation([1, 2], 30)
    assert scheduler.outcomes["late"].ids == continuation([3, 4], 5)
