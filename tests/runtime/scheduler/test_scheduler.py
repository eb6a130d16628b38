"""The scheduler against a model that notices any wrong KV slot (see toy.py)."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest

from sglang_lang.runtime.messages import AbortRequest, ControlReply, ControlRequest

from .toy import EOS, ByteTokenizer, Toy, continuation, request


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Random prompts of which many share prefixes."""
    rng = random.Random(seed)
    stems = [[rng.randrange(256) for _ in range(rng.randrange(5, 60))] for _ in range(3)]
    out = []
    for _ in range(count):
        stem = rng.choice(stems)
        tail = [rng.randrange(256) for _ in range(rng.randrange(1, 30))]
        out.append(stem[: rng.randrange(len(stem) + 1)] + tail)
    return out


SETTINGS = [
    Toy(page_size=page, chunk=chunk, cache=cache, overlap=overlap, slots=slots)
    for page, chunk, cache, overlap, slots in itertools.product(
        (1, 16), (7, 256), (True, False), (True, False), (160, 4096)
    )
]


@pytest.mark.parametrize("toy", SETTINGS, ids=str)
def test_same_tokens_whatever_the_settings(toy: Toy) -> None:
    scheduler = toy.build()
    work = prompts(20)
    for i, prompt in enumerate(work):
        scheduler.send(request(str(i), prompt, max_new_tokens=1 + i % 17))
    scheduler.run()
    for i, prompt in enumerate(work):
        outcome = scheduler.outcomes[str(i)]
        assert outcome.ids == continuation(prompt, 1 + i % 17)
        assert outcome.terminal_messages == 1
        assert outcome.finish is not None and outcome.finish.type == "length"
    scheduler.check_slots()


def test_a_pool_too_small_for_all_retracts_and_loses_nothing() -> None:
    scheduler = Toy(slots=96, chunk=64).build()
    work = [[i] * 10 for i in range(8)]
    for i, prompt in enumerate(work):
        scheduler.send(request(str(i), prompt, max_new_tokens=60))
    scheduler.run()
    assert scheduler.scheduler.stats.retractions > 0
    for i, prompt in enumerate(work):
        assert scheduler.outcomes[str(i)].ids == continuation(prompt, 60)


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("page_size", [1, 16])
def test_slots_are_conserved_in_a_storm_with_aborts(overlap: bool, page_size: int) -> None:
    rng = random.Random(11)
    scheduler = Toy(slots=320, overlap=overlap, page_size=page_size, chunk=24).build()
    work = prompts(300, seed=5)
    started = 0
    while started < len(work) or any(o.finish is None for o in scheduler.outcomes.values()):
        for _ in range(rng.randrange(4)):
            if started < len(work):
                scheduler.send(request(f"r{started}.", work[started], rng.randrange(0, 40)))
                started += 1
        if rng.random() < 0.3 and started:
            scheduler.send(AbortRequest(rid_prefix=f"r{rng.randrange(started)}."))
        scheduler.step()
        scheduler.check_slots()
    aborted = 0
    for i, prompt in enumerate(work):
        outcome = scheduler.outcomes[f"r{i}."]
        assert outcome.terminal_messages == 1
        assert outcome.finish is not None
        aborted += outcome.finish.type == "abort"
        assert outcome.ids == continuation(prompt, len(outcome.ids))
    assert aborted > 10
    scheduler.step()
    scheduler.scheduler.kv.prefix_cache.reset()
    assert scheduler.kv.allocator.available() == scheduler.capacity


def test_flush_cache_frees_every_slot_when_idle_and_refuses_when_busy() -> None:
    scheduler = Toy().build()
    scheduler.send(request("a", [1, 2, 3] * 20, max_new_tokens=5))
    scheduler.step()
    scheduler.send(ControlRequest(id=1, action="flush_cache"))
    scheduler.scheduler.step()
    replies = [m for m in scheduler.port.sent if isinstance(m, ControlReply)]
    assert not replies[0].ok and "running" in replies[0].message
    scheduler.run()
    assert scheduler.kv.prefix_cache.total_size > 0
    scheduler.send(ControlRequest(id=2, action="flush_cache"))
    scheduler.step()
    assert scheduler.kv.allocator.available() == scheduler.capacity


def test_a_second_request_reuses_the_first_ones_prefix() -> None:
    scheduler = Toy().build()
    stem = list(range(50))
    scheduler.send(request("first", [*stem, 1]))
    scheduler.run()
    scheduler.send(request("second", [*stem, 2]))
    scheduler.run()
    last = scheduler.outcomes["second"].last
    assert last is not None and last.cached_tokens == 50


@pytest.mark.parametrize("overlap", [True, False])
def test_waiting_requests_compute_a_shared_prefix_once(overlap: bool) -> None:
    scheduler = Toy(chunk=32, max_running=8, overlap=overlap).build()
    stem = list(range(96))
    for i in range(6):
        scheduler.send(request(str(i), [*stem, 200 + i], max_new_tokens=2))
    scheduler.run()
    assert scheduler.scheduler.stats.prefill_tokens == 96 + 6
    for i in range(6):
        assert scheduler.outcomes[str(i)].ids == continuation([*stem, 200 + i], 2)


def test_requests_held_for_a_prefix_start_in_the_step_after_it() -> None:
    scheduler = Toy(chunk=32, max_running=8).build()
    stem = list(range(60))
    for i in range(6):
        scheduler.send(request(str(i), [*stem, 200 + i], max_new_tokens=2))
    for _ in range(3):  # two chunks of the prompt, then all that waited for it
        scheduler.step()
    assert len(scheduler.scheduler.queues.running) == 6


def test_a_hint_computes_the_prefix_that_forks_arriving_with_it_share() -> None:
    """The language's fork sends its prompt with max_new_tokens = 0, and then its children."""
    scheduler = Toy(chunk=256, max_running=8).build()
    parent = list(range(90))
    scheduler.send(request("hint", parent, max_new_tokens=0))
    for i in range(4):
        scheduler.send(request(str(i), [*parent, 200 + i, 7], max_new_tokens=3))
    scheduler.run()
    assert scheduler.finished[0] == "hint"
    assert scheduler.scheduler.stats.prefill_tokens == 90 + 4 * 2
    for i in range(4):
        outcome = scheduler.outcomes[str(i)]
        assert outcome.last is not None and outcome.last.cached_tokens == 90
        assert outcome.ids == continuation([*parent, 200 + i, 7], 3)


def test_tenants_with_different_keys_share_nothing() -> None:
    scheduler = Toy().build()
    for rid, key in (("a", "x"), ("b", "y"), ("c", "x")):
        scheduler.send(request(rid, list(range(40)), extra_key=key))
        scheduler.run()
    cached = [scheduler.outcomes[rid].last for rid in "abc"]
    assert [last.cached_tokens if last else None for last in cached] == [0, 0, 39]


def test_stop_strings_across_tokens_end_the_request_there() -> None:
    expected = continuation([9, 9], 40)
    stop = bytes(expected[10:12]).decode("latin-1")
    toy = Toy()
    scheduler = toy.build()
    # A stop string is text; the toy's text is bytes, so choose one that is ASCII.
    ascii_stop = next(
        bytes(expected[i : i + 2]).decode() for i in range(39) if max(expected[i : i + 2]) < 128
    )
    scheduler.send(request("s", [9, 9], max_new_tokens=40, stop=[ascii_stop]))
    scheduler.run()
    outcome = scheduler.outcomes["s"]
    assert outcome.finish is not None
    assert (outcome.finish.type, outcome.finish.matched) == ("stop", ascii_stop)
    assert bytes(outcome.ids).endswith(ascii_stop.encode())
    assert stop is not None


def test_stop_token_ids_end_the_request() -> None:
    expected = continuation([3], 30)
    scheduler = Toy().build()
    scheduler.send(request("s", [3], max_new_tokens=30, stop_token_ids=[expected[6]]))
    scheduler.run()
    outcome = scheduler.outcomes["s"]
    first = expected.index(expected[6])
    assert outcome.ids == expected[: first + 1]
    assert outcome.finish is not None and outcome.finish.matched == expected[6]


def test_logit_bias_and_eos_and_min_new_tokens() -> None:
    scheduler = Toy().build()
    scheduler.send(request("eos", [3], max_new_tokens=9, logit_bias={EOS: 100.0}))
    scheduler.send(
        request("late", [3], max_new_tokens=9, logit_bias={EOS: 100.0}, min_new_tokens=4)
    )
    scheduler.send(request("never", [3], max_new_tokens=9, logit_bias={EOS: 99.0}, ignore_eos=True))
    scheduler.run()
    assert scheduler.outcomes["eos"].ids == [EOS]
    assert len(scheduler.outcomes["late"].ids) == 5
    assert scheduler.outcomes["never"].ids == [EOS] * 9


def test_frequency_penalty_stops_repetition() -> None:
    scheduler = Toy().build()
    bias = {65: 100.0, 66: 99.5}
    scheduler.send(request("plain", [3], max_new_tokens=4, logit_bias=bias))
    scheduler.send(request("fresh", [3], 4, logit_bias=bias, frequency_penalty=1.0))
    scheduler.run()
    assert scheduler.outcomes["plain"].ids == [65] * 4
    assert sorted(scheduler.outcomes["fresh"].ids) == [65, 65, 66, 66]


def test_the_same_seed_draws_the_same_tokens_in_any_company() -> None:
    def draw(company: int) -> list[int]:
        scheduler = Toy().build()
        for i in range(company):
            scheduler.send(request(f"c{i}", [i], max_new_tokens=20, temperature=1.0))
        bias = dict.fromkeys(range(60), 20.0)
        scheduler.send(request("x", [1], 20, temperature=2.0, seed=42, logit_bias=bias))
        scheduler.run()
        return scheduler.outcomes["x"].ids

    alone = draw(0)
    assert alone == draw(5)
    assert len(set(alone)) > 3


def test_prompt_logprobs_are_scored_from_the_asked_position() -> None:
    prompt = [1, 2, 3, *continuation([1, 2, 3], 30)]
    for cache_warm in (False, True):
        scheduler = Toy(chunk=7).build()
        if cache_warm:
            scheduler.send(request("warm", prompt))
            scheduler.run()
        scheduler.send(request("s", prompt, 0, return_logprob=True, logprob_start_len=1))
        scheduler.send(request("all", prompt, 2, return_logprob=True, logprob_start_len=0))
        scheduler.run()
        values = scheduler.outcomes["s"].input_logprobs
        assert len(values) == len(prompt) - 1
        # Tokens 3.. are what the model predicts; the first two are not.
        assert all(value > -0.1 for value in values[2:])
        assert all(value < -5 for value in values[:2])
        everything = scheduler.outcomes["all"].input_logprobs
        assert everything[0] is None and everything[1:] == values
        assert all(value > -0.1 for value in scheduler.outcomes["all"].output_logprobs)


def test_requests_that_can_never_fit_are_refused_by_name() -> None:
    scheduler = Toy(slots=100, context_len=64).build()
    scheduler.send(request("long", [1] * 65))
    scheduler.send(request("empty", []))
    scheduler.run()
    for rid, words in (("long", "65 tokens"), ("empty", "input_ids")):
        finish = scheduler.outcomes[rid].finish
        assert finish is not None and finish.status_code == 400
        assert finish.message is not None and words in finish.message
    roomy = Toy(slots=32, context_len=64).build()
    roomy.send(request("big", [1] * 20, max_new_tokens=40))
    roomy.run()
    finish = roomy.outcomes["big"].finish
    assert finish is not None and finish.message is not None and "KV slots" in finish.message


@pytest.mark.parametrize("jump_forward", [True, False])
@pytest.mark.parametrize("overlap", [True, False])
def test_constrained_output_matches_its_regex(jump_forward: bool, overlap: bool) -> None:
    pattern = r'\{"name": "[a-z]{3,8}", "age": [0-9]{1,3}, "kind": "(human|robot)"\}'
    scheduler = Toy(jump_forward=jump_forward, overlap=overlap).build()
    for i in range(6):
        scheduler.send(request(f"g{i}", [i, 1, 2], 120, regex=pattern, stream=i % 2 == 0))
        scheduler.send(request(f"free{i}", [i, 1, 2], 30))
    scheduler.run()
    for i in range(6):
        outcome = scheduler.outcomes[f"g{i}"]
        text = bytes(t for t in outcome.ids if t != EOS).decode()
        assert re.fullmatch(pattern, text), text
        assert outcome.finish is not None and outcome.finish.type == "stop"
        assert outcome.last is not None
        assert (outcome.last.forced_tokens > 30) == jump_forward
        assert scheduler.outcomes[f"free{i}"].ids == continuation([i, 1, 2], 30)
    scheduler.check_slots()


def test_a_constraint_cut_by_max_new_tokens_is_a_prefix_with_reason_length() -> None:
    scheduler = Toy().build()
    scheduler.send(request("cut", [1], 7, regex=r"abcdefghij[xy]+"))
    scheduler.run()
    outcome = scheduler.outcomes["cut"]
    assert bytes(outcome.ids) == b"abcdefg"
    assert outcome.finish is not None and outcome.finish.type == "length"


def test_a_json_schema_is_kept_by_the_toy_model() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "yy"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    scheduler = Toy().build()
    scheduler.send(request("j", [1], 100, json_schema=json.dumps(schema), logit_bias={44: 30.0}))
    scheduler.run()
    outcome = scheduler.outcomes["j"]
    assert outcome.finish is not None and outcome.finish.type == "stop"
    value = json.loads(bytes(t for t in outcome.ids if t != EOS))
    assert isinstance(value["a"], int) and value["b"] in ("x", "yy")


def test_an_invalid_constraint_fails_only_its_request() -> None:
    scheduler = Toy().build()
    scheduler.send(request("bad", [1], regex="(unclosed"))
    scheduler.send(request("good", [1], 5))
    scheduler.run()
    finish = scheduler.outcomes["bad"].finish
    assert finish is not None and (finish.type, finish.status_code) == ("abort", 400)
    assert scheduler.outcomes["good"].ids == continuation([1], 5)


def test_a_constraint_that_the_vocabulary_cannot_spell_fails_only_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_q: list[bytes | None] = [*ByteTokenizer.token_bytes]
    without_q[ord("q")] = None
    monkeypatch.setattr(ByteTokenizer, "token_bytes", without_q)
    for jump_forward in (True, False):
        scheduler = Toy(jump_forward=jump_forward).build()
        scheduler.send(request("bad", [1], 20, regex="abqc"))
        scheduler.send(request("good", [1], 20))
        scheduler.run()
        finish = scheduler.outcomes["bad"].finish
        assert finish is not None and (finish.type, finish.status_code) == ("abort", 400)
        assert scheduler.outcomes["good"].ids == continuation([1], 20)
        scheduler.check_slots()


def test_stop_regex_ends_the_request_and_a_pattern_that_is_not_regular_is_refused() -> None:
    scheduler = Toy().build()
    bias = dict.fromkeys(b"0123456789 ", 30.0)
    scheduler.send(request("s", [3], 60, stop_regex=[r"[0-9]{2} "], logit_bias=bias))
    scheduler.send(request("back", [3], 60, stop_regex=[r"(a)\1"]))
    scheduler.run()
    text = bytes(scheduler.outcomes["s"].ids).decode()
    assert re.search(r"[0-9]{2} $", text) and not re.search(r"[0-9]{2} .", text)
    finish = scheduler.outcomes["back"].finish
    assert finish is not None and finish.message is not None and "stop_regex" in finish.message


def test_an_exact_abort_spares_rids_that_only_begin_so() -> None:
    scheduler = Toy().build()
    for rid in ("r1", "r10", "q"):
        scheduler.send(request(rid, [1], 40))
    scheduler.step()
    scheduler.send(AbortRequest(rid_prefix="r1", exact=True))
    scheduler.run()
    kinds = {rid: o.finish.type for rid, o in scheduler.outcomes.items() if o.finish}
    assert kinds == {"r1": "abort", "r10": "length", "q": "length"}
