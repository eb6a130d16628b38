"""What the scheduler measures of itself follows what it does."""

from __future__ import annotations

import threading

from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.runtime.messages import (
    ContinueGeneration,
    ControlReply,
    ControlRequest,
    PauseGeneration,
    SchedulerMetrics,
)
from sglang_lang.runtime.scheduler.grammar_queue import GrammarQueue
from sglang_lang.runtime.scheduler.req import Req

from .toy import Toy, ToyScheduler, request


def measured(scheduler: ToyScheduler) -> SchedulerMetrics:
    scheduler.send(ControlRequest(id=1, action="metrics"))
    scheduler.scheduler.step()
    replies = [sent for sent in scheduler.port.sent if isinstance(sent, ControlReply)]
    scheduler.port.sent.clear()
    metrics = replies[-1].metrics
    assert metrics is not None
    return metrics


def test_work_is_counted_and_an_idle_scheduler_holds_nothing() -> None:
    scheduler = Toy(slots=256).build()
    scheduler.send(request("a", list(range(20)), max_new_tokens=5))
    scheduler.run()
    first = measured(scheduler)
    scheduler.send(request("b", list(range(20)), max_new_tokens=5))
    scheduler.run()
    second = measured(scheduler)
    assert (second.num_running_reqs, second.num_queue_reqs, second.num_used_tokens) == (0, 0, 0)
    assert first.cache_hit_rate == 0 < second.cache_hit_rate
    assert first.prefill_tokens_total == 20
    assert second.prefill_tokens_total < 40
    assert second.scheduler_steps_total > first.scheduler_steps_total >= 5


def test_evictions_and_retractions_are_counted_and_timed() -> None:
    scheduler = Toy(slots=96, chunk=64).build()
    for i in range(8):
        scheduler.send(request(str(i), [i] * 10, max_new_tokens=60))
    scheduler.run()
    metrics = measured(scheduler)
    assert metrics.num_retracted_requests_total > 0
    assert metrics.evicted_tokens_total > 0
    assert metrics.eviction_duration_seconds.count > 0


def test_grammars_are_timed_and_repeated_ones_are_hits() -> None:
    scheduler = Toy().build()
    for i in range(3):
        scheduler.send(request(str(i), [65], max_new_tokens=4, regex="[a-c]+"))
    scheduler.send(request("bad", [65], max_new_tokens=4, regex="(a"))
    scheduler.run()
    metrics = measured(scheduler)
    assert metrics.grammar_compilation_time_seconds.count == 1
    assert metrics.num_grammar_cache_hit_total == 2
    assert metrics.num_grammar_aborted_total == 1


def test_a_request_is_told_how_long_it_waited() -> None:
    scheduler = Toy().build()
    scheduler.send(request("a", [65], max_new_tokens=2, regex="[a-c]+"))
    scheduler.run()
    last = scheduler.outcomes["a"].last
    assert last is not None and last.times is not None
    times = last.times
    assert times.grammar > 0 and times.queue >= 0


def test_paused_requests_are_counted() -> None:
    scheduler = Toy().build()
    scheduler.send(PauseGeneration(id=1))
    scheduler.send(request("a", [65], max_new_tokens=2))
    scheduler.scheduler.step()
    assert measured(scheduler).num_paused_reqs == 1
    scheduler.send(ContinueGeneration(id=2))
    scheduler.run()
    assert measured(scheduler).num_paused_reqs == 0


def test_a_constraint_that_takes_too_long_is_refused_and_counted() -> None:
    compiler = GrammarCompiler(Vocabulary.from_token_bytes([b"a", b"b"], []))
    grammars = GrammarQueue(compiler, timeout=0.0)
    held = threading.Event()
    compiler.on_compiled = lambda _: (held.wait(10), None)[1]
    grammars.add(Req(request("slow", [0], regex="a+"), 0, 64))
    ready, [failure] = grammars.poll()
    held.set()
    grammars.close()
    assert not ready and len(grammars) == 0 and grammars.timeouts == 1
    assert "0 s" in failure.message
