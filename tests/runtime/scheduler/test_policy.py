from __future__ import annotations

import random
from collections.abc import Sequence
from typing import get_args

import pytest

from sglang_lang.runtime.messages import AbortRequest
from sglang_lang.runtime.scheduler.policy import (
    MAX_PASSED_OVER,
    DepthFirstWeight,
    FirstComeFirstServed,
    HighestPriority,
    LongestOutputFirst,
    LongestPrefixMatch,
    RandomOrder,
    SchedulePolicy,
    fair_order,
    schedule_policy,
    take_out,
)
from sglang_lang.runtime.scheduler.req import Req
from sglang_lang.runtime.server_args import Policy

from .toy import Toy, continuation, request, waiting

NAMES = get_args(Policy)


def rids(policy: SchedulePolicy, reqs: list[Req]) -> str:
    return "".join(req.rid for req in policy.order(reqs))


def test_every_name_on_the_command_line_is_a_policy() -> None:
    kv = Toy().build().kv
    policies = [type(schedule_policy(name, kv, 10, 0)) for name in NAMES]
    assert len(set(policies)) == len(NAMES)
    with pytest.raises(ValueError, match="lru"):
        schedule_policy("lru", kv, 10, 0)


def test_fcfs_keeps_the_order_of_arrival() -> None:
    assert rids(FirstComeFirstServed(), waiting([3], [2], [1])) == "012"


def test_lpm_puts_the_longest_cached_prefix_first_and_equals_as_they_came() -> None:
    scheduler = Toy().build()
    scheduler.send(request("warm", list(range(60))))
    scheduler.run()
    reqs = waiting([9, 9], [*range(20), 255], [*range(50), 255], [8, 8])
    assert rids(LongestPrefixMatch(scheduler.kv), reqs) == "2103"


def test_dfs_weight_walks_the_tree_of_prompts_heavier_branches_first() -> None:
    policy = DepthFirstWeight(Toy().build().kv)
    reqs = waiting(
        [1, 2, 3],  # 0
        [9, 1],  # 1
        [1, 2, 4],  # 2
        [9, 1, 7],  # 3
        [1, 5],  # 4
        [1, 2, 4],  # 5, as 2
        [300, 2],  # 6: its low byte is that of 44, not of another prompt
        [44, 2],  # 7
    )
    order = rids(policy, reqs)
    assert order.index("2") + 1 == order.index("5")
    assert order[:4] in ("2504", "2540") and order[4:6] == "13"
    assert sorted(order) == list("01234567")
    assert policy.order([]) == []


def test_dfs_weight_goes_on_in_the_branch_that_is_cached() -> None:
    scheduler = Toy().build()
    scheduler.send(request("warm", [1, 2, 3, 4, 5, 6]))
    scheduler.run()
    reqs = waiting([7, 7, 1], [7, 7, 2], [7, 7, 3], [1, 2, 3, 4, 9])
    assert rids(DepthFirstWeight(scheduler.kv), reqs) == "3012"


def test_dfs_weight_keeps_namespaces_apart() -> None:
    scheduler = Toy().build()
    scheduler.send(request("warm", [1, 2, 3, 4, 5, 6]))
    scheduler.run()
    reqs = waiting([7, 7, 1], [1, 2, 3, 4, 9])
    for req in reqs:
        req.request.extra_key = "tenant"
    others = waiting([1, 2, 3, 4, 8], [1, 2, 3, 4, 9])
    policy = DepthFirstWeight(scheduler.kv)
    assert policy.order(reqs + others) == [*policy.order(reqs), *policy.order(others)]


def test_lof_starts_the_longest_outputs_first() -> None:
    reqs = [Req(request(str(i), [1], n), 0, 256) for i, n in enumerate((5, 90, 20))]
    assert rids(LongestOutputFirst(), reqs) == "120"


def test_random_is_some_order_that_its_seed_decides() -> None:
    reqs = waiting(*[[i] for i in range(10)])
    assert rids(RandomOrder(1), reqs) == rids(RandomOrder(1), reqs) != rids(RandomOrder(2), reqs)
    assert sorted(rids(RandomOrder(3), reqs)) == list("0123456789")


def test_priority_puts_the_greatest_first_and_equals_as_they_came() -> None:
    reqs = [Req(request(str(i), [1], priority=p), 0, 256) for i, p in enumerate((0, 7, -3, 7))]
    assert rids(HighestPriority(10), reqs) == "1302"


def test_only_a_priority_greater_by_more_than_the_threshold_preempts() -> None:
    low, high, higher = (Req(request("x", [1], priority=p), 0, 256) for p in (0, 10, 11))
    policy = HighestPriority(10)
    assert policy.preempts(higher, low)
    assert not policy.preempts(high, low)
    low.passed_over = MAX_PASSED_OVER
    assert not policy.preempts(higher, low)
    assert policy.retracts_first([low, high]) is high


# --------------------------------------------------------------------------- fairness


def test_only_requests_admitted_before_an_earlier_one_pass_it() -> None:
    reqs = waiting([0], [1], [2], [3], [4])
    queue = list(reqs)
    take_out(queue, [reqs[3], reqs[1]])
    assert [req.rid for req in queue] == ["0", "2", "4"]
    assert [req.passed_over for req in queue] == [2, 1, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_request_passed_too_often_goes_first(name: str) -> None:
    scheduler = Toy().build()
    scheduler.send(request("warm", list(range(60))))
    scheduler.run()
    policy = schedule_policy(name, scheduler.kv, 10, 0)
    reqs = waiting([*range(50), 255], [9, 9], [*range(50), 254], [9, 8])
    reqs[1].passed_over = reqs[3].passed_over = MAX_PASSED_OVER
    assert [req.rid for req in fair_order(policy, reqs)][:2] == ["1", "3"]


@pytest.mark.parametrize("name", NAMES)
def test_an_unlucky_request_is_served_while_luckier_ones_keep_coming(name: str) -> None:
    scheduler = Toy(max_running=1, slots=2048, policy=name).build()
    scheduler.send(request("warm", list(range(60)), 1))
    scheduler.run()
    scheduler.send(request("unlucky", [200] * 10, 1, priority=-100))
    for i in range(2 * MAX_PASSED_OVER):  # each with a longer prefix, more output, more priority
        for j in range(2):
            prompt = [*range(50), i % 256, j, i // 256]
            scheduler.send(request(f"lucky{i}.{j}", prompt, 2, priority=9))
        scheduler.step()
        if scheduler.outcomes["unlucky"].finish is not None:
            return
    scheduler.run()  # a random order may find it late, but not last
    served = list(scheduler.finished)
    assert served.index("unlucky") < MAX_PASSED_OVER + 10


# --------------------------------------------------------------------------- preemption


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("page_size", [1, 16])
def test_a_request_of_higher_priority_takes_the_place_of_a_running_one(
    overlap: bool, page_size: int
) -> None:
    toy = Toy(policy="priority", max_running=2, overlap=overlap, page_size=page_size)
    scheduler = toy.build()
    for rid, priority in (("low", 0), ("middle", 5)):
        scheduler.send(request(rid, [1, 2, len(rid)], 60, priority=priority))
    for _ in range(8):
        scheduler.step()
    scheduler.send(request("urgent", [7, 7], 5, priority=12))
    while scheduler.outcomes["urgent"].finish is None:
        scheduler.step()
        scheduler.check_slots()
    assert scheduler.outcomes["low"].finish is scheduler.outcomes["middle"].finish is None
    scheduler.run()
    for rid in ("low", "middle"):
        assert scheduler.outcomes[rid].ids == continuation([1, 2, len(rid)], 60)
    retractions = {rid: o.last.num_retractions for rid, o in scheduler.outcomes.items() if o.last}
    assert retractions == {"low": 1, "middle": 0, "urgent": 0}


def test_a_request_of_higher_priority_takes_the_memory_of_running_ones() -> None:
    scheduler = Toy(policy="priority", slots=128, chunk=64).build()
    for i in range(3):
        scheduler.send(request(f"low{i}", [i] * 30, 40))
    for _ in range(5):
        scheduler.step()
    scheduler.send(request("urgent", [9] * 90, 20, priority=20))
    scheduler.run()
    assert scheduler.finished[0] == "urgent"
    for i in range(3):
        assert scheduler.outcomes[f"low{i}"].ids == continuation([i] * 30, 40)


def test_nobody_is_displaced_in_vain() -> None:
    scheduler = Toy(policy="priority", slots=128, chunk=64).build()
    scheduler.send(request("equal", [1] * 60, 40, priority=15))
    scheduler.send(request("low", [2], 10, priority=0))
    for _ in range(4):
        scheduler.step()
    scheduler.send(request("urgent", [9] * 90, 20, priority=20))  # low's room would not do
    scheduler.run()
    assert scheduler.scheduler.stats.retractions == 0


def test_a_storm_of_priorities_loses_nothing() -> None:
    rng = random.Random(4)
    scheduler = Toy(policy="priority", slots=256, max_running=4, preemption_threshold=3).build()
    work = [[rng.randrange(256) for _ in range(rng.randrange(1, 40))] for _ in range(80)]
    for i, prompt in enumerate(work):
        scheduler.send(request(str(i), prompt, 1 + i % 30, priority=rng.randrange(40)))
        for _ in range(rng.randrange(4)):
            scheduler.step()
            scheduler.check_slots()
    scheduler.run()
    assert scheduler.scheduler.stats.retractions > 5
    for i, prompt in enumerate(work):
        assert scheduler.outcomes[str(i)].ids == continuation(prompt, 1 + i % 30)
        assert scheduler.outcomes[str(i)].terminal_messages == 1


# --------------------------------------------------------------------------- too little memory


class CountingPolicy(FirstComeFirstServed):
    orders = 0

    def order(self, waiting: Sequence[Req]) -> Sequence[Req]:
        self.orders += 1
        return super().order(waiting)


def test_a_queue_is_not_ordered_again_while_its_first_request_does_not_fit() -> None:
    scheduler = Toy(slots=128, chunk=128).build()
    policy = CountingPolicy()
    scheduler.scheduler._planner.policy = policy
    scheduler.send(request("running", [1] * 60, 40))
    scheduler.step()
    scheduler.send(request("large", [2] * 90, 8))
    scheduler.step()
    orders = policy.orders
    for _ in range(10):
        scheduler.step()
    assert policy.orders == orders
    scheduler.send(request("small", [3], 2))  # another one has come
    scheduler.step()
    assert policy.orders == orders + 1
    scheduler.send(AbortRequest(rid_prefix="large"))
    scheduler.run()
    assert scheduler.finished[:2] == ["large", "small"]


@pytest.mark.parametrize("name", NAMES)
def test_background_requests_go_behind_all_others_until_they_are_old(name: str) -> None:
    policy = schedule_policy(name, Toy().build().kv, 10, 0)
    reqs = [Req(request(str(i), [i], priority=-100 * (i % 2)), 0, 256) for i in range(6)]
    order = [int(req.rid) for req in fair_order(policy, reqs)]
    assert sorted(order[:3]) == [0, 2, 4] and sorted(order[3:]) == [1, 3, 5]
    reqs[3].passed_over = MAX_PASSED_OVER
    assert fair_order(policy, reqs)[0] is reqs[3]
