from __future__ import annotations

from sglang_lang.runtime.scheduler.policy import MAX_PASSED_OVER, NewTokenRatio, SchedulePolicy
from sglang_lang.runtime.scheduler.req import Req

from .toy import Toy, request


def waiting(*prompts: list[int]) -> list[Req]:
    return [Req(request(str(i), prompt), 0, 256) for i, prompt in enumerate(prompts)]


def test_lpm_puts_the_longest_cached_prefix_first() -> None:
    scheduler = Toy().build()
    scheduler.send(request("warm", list(range(60))))
    scheduler.run()
    reqs = waiting([9, 9], [*range(20), 255], [*range(50), 255])
    order = SchedulePolicy("lpm", scheduler.kv).candidates(reqs)
    assert [(c.req.rid, c.cached_len) for c in order] == [("2", 50), ("1", 20), ("0", 0)]
    fcfs = SchedulePolicy("fcfs", scheduler.kv).candidates(reqs)
    assert [c.req.rid for c in fcfs] == ["0", "1", "2"]


def test_a_request_passed_over_too_often_goes_first() -> None:
    scheduler = Toy().build()
    scheduler.send(request("warm", list(range(60))))
    scheduler.run()
    old, lucky = waiting([9, 9], [*range(50), 255])
    old.passed_over = MAX_PASSED_OVER
    order = SchedulePolicy("lpm", scheduler.kv).candidates([lucky, old])
    assert order[0].req is old


def test_an_unlucky_request_is_served_while_cached_ones_keep_coming() -> None:
    scheduler = Toy(max_running=1, slots=2048).build()
    scheduler.send(request("warm", list(range(60)), 1))
    scheduler.run()
    scheduler.send(request("unlucky", [200] * 10, 1))
    for i in range(600):
        scheduler.send(request(f"lucky{i}", [*range(50), i % 256, i // 256], 1))
        scheduler.send(request(f"lucky_too{i}", [*range(50), i % 256, 9, i // 256], 1))
        scheduler.step()
        if scheduler.outcomes["unlucky"].finish is not None:
            return
    raise AssertionError("starved for 600 steps")


def test_the_expected_output_shrinks_with_time_and_grows_after_a_retraction() -> None:
    ratio = NewTokenRatio(1.0)
    start = ratio.value
    for _ in range(NewTokenRatio.DECAY_STEPS * 2):
        ratio.decay()
    assert 0 < ratio.value < start / 5
    low = ratio.value
    ratio.after_retraction(waiting([1, 2, 3]))
    assert low < ratio.value <= 1.0
