"""Forced text under any setting: the same tokens, right logprobs, a text that only grows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.runtime.messages import GenerateRequest
from sglang_lang.runtime.scheduler.speculation import NgramSpeculation

from .toy import EOS, Outcome, Toy, WordTokenizer, continuation, request, states

WORDS = WordTokenizer()
PATTERNS = (
    r'\{"abcd": (ab|abc|cd){1,6}, "a": "[a-d]{2,9}", "e": (aab|aabcde|da)\}',
    r"([abcd]{2}abcda){1,9}",
    r"abcd|abcdabcd|aaaabcd",
    r'x?(\{"ab": "[a-d]"\}|\{"abc": "[cd]+"\})',
    r"abcdabcda",
    r"(a|b)*cd(abcd|aa)",
    r"([abc]{30,50}dabcd){1,3}",
)
ALONE = Toy(tokenizer=WORDS, cache=False, overlap=False, chunk=512)


@dataclass(frozen=True)
class Asked:
    """A constrained request."""

    pattern: int
    prompt: tuple[int, ...]
    max_new_tokens: int = 60
    logprobs: bool = False
    stop: tuple[str, ...] = ()
    stream: bool = False

    def message(self, rid: str) -> GenerateRequest:
        return request(
            rid,
            list(self.prompt),
            self.max_new_tokens,
            regex=PATTERNS[self.pattern],
            return_logprob=self.logprobs,
            logprob_start_len=0 if self.logprobs and self.prompt[0] % 2 else None,
            stop=list(self.stop),
            stream=self.stream,
        )


@cache
def alone(asked: Asked) -> Outcome:
    """What it gets with nothing beside it and nothing clever switched on but jump-forward."""
    scheduler = ALONE.build()
    scheduler.send(replace(asked, logprobs=False, stream=False).message("alone"))
    scheduler.run()
    return scheduler.outcomes["alone"]


def text_of(ids: list[int]) -> bytes:
    return b"".join(WORDS.token_bytes[i] or b"" for i in ids)


asked = st.builds(
    Asked,
    pattern=st.integers(0, len(PATTERNS) - 1),
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=40).map(tuple),
    max_new_tokens=st.sampled_from([1, 2, 5, 11, 60]),
    logprobs=st.booleans(),
    stop=st.sampled_from([(), (), ("cda",), ("bc", '"e')]),
    stream=st.booleans(),
)
toys = st.builds(
    Toy,
    tokenizer=st.just(WORDS),
    slots=st.sampled_from([112, 256, 2048]),
    page_size=st.sampled_from([1, 16]),
    chunk=st.sampled_from([3, 32, 256]),
    max_running=st.sampled_from([1, 3, 8]),
    cache=st.booleans(),
    overlap=st.booleans(),
    late=st.booleans(),
    stream_interval=st.sampled_from([1, 4]),
    calm=st.sampled_from([0, 3, 24]),
    speculation=st.none() | st.builds(NgramSpeculation, st.integers(1, 6), st.just(1), st.just(4)),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(toys, st.lists(asked, min_size=1, max_size=8))
def test_forced_text_is_the_same_under_any_setting(toy: Toy, work: list[Asked]) -> None:
    scheduler = toy.build()
    for i, one in enumerate(work):
        scheduler.send(one.message(str(i)))
        scheduler.send(request(f"free{i}", [i], 12))
    scheduler.run()
    scheduler.check_slots()
    for i, one in enumerate(work):
        outcome, expected = scheduler.outcomes[str(i)], alone(one)
        assert outcome.ids == expected.ids and outcome.finish == expected.finish
        assert outcome.terminal_messages == 1
        assert scheduler.outcomes[f"free{i}"].ids == continuation([i], 12)
        if one.logprobs:
            check_logprobs(one, outcome)
    scheduler.scheduler.step()
    scheduler.scheduler.kv.prefix_cache.reset()
    assert scheduler.kv.allocator.available() == scheduler.capacity


def check_logprobs(one: Asked, outcome: Outcome) -> None:
    """Each is that of its token after those before it, and none is told before it is final."""
    assert outcome.withdrawn == 0
    *seen, _ = states([*one.prompt, *outcome.ids])
    predicted = [state % 256 for state in seen[len(one.prompt) - 1 :]]
    assert len(outcome.output_logprobs) == len(outcome.ids)
    for value, guess, token_id in zip(outcome.output_logprobs, predicted, outcome.ids, strict=True):
        assert value > -0.1 if guess == token_id else value < -5
    if one.prompt[0] % 2:
        assert len(outcome.input_logprobs) == len(one.prompt)


@pytest.mark.parametrize("pattern", range(len(PATTERNS)))
@pytest.mark.parametrize("logprobs", [False, True])
def test_the_whole_text_matches_and_much_of_it_is_forced(pattern: int, logprobs: bool) -> None:
    scheduler = Toy(tokenizer=WORDS).build()
    work = [Asked(pattern, (i, 1, 2), 120, logprobs) for i in range(8)]
    for i, one in enumerate(work):
        scheduler.send(one.message(str(i)))
    scheduler.run()
    forced = 0
    for i in range(len(work)):
        outcome = scheduler.outcomes[str(i)]
        assert re.fullmatch(PATTERNS[pattern], text_of(outcome.ids).decode())
        assert outcome.last is not None and outcome.last.completion_tokens == len(outcome.ids)
        forced += outcome.last.forced_tokens
    assert forced > 1


def test_a_wholly_forced_output_needs_no_step_but_for_its_logprobs() -> None:
    scheduler = Toy(tokenizer=WORDS).build()
    scheduler.send(Asked(4, (3,)).message("plain"))
    scheduler.run()
    assert scheduler.scheduler.stats.steps == 0
    scheduler.send(Asked(4, (3,), logprobs=True).message("scored"))
    scheduler.run()
    outcome = scheduler.outcomes["scored"]
    assert scheduler.scheduler.stats.steps == 1
    assert outcome.ids == scheduler.outcomes["plain"].ids
    check_logprobs(Asked(4, (3,)), outcome)


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_jump_that_comes_unexpected_costs_one_step(logprobs: bool) -> None:
    one = Asked(6, (3, 1, 2), 120, logprobs)
    outcomes, steps = [], []
    for calm in (1000, 4):
        scheduler = Toy(tokenizer=WORDS, calm=calm).build()
        scheduler.send(one.message("0"))
        scheduler.run()
        outcomes.append(scheduler.outcomes["0"])
        steps.append(scheduler.scheduler.stats.steps)
    assert outcomes[0].ids == outcomes[1].ids
    assert outcomes[0].output_logprobs == outcomes[1].output_logprobs
    text = text_of(outcomes[0].ids).decode()
    assert 0 < steps[1] - steps[0] <= text.count("dabcd")


def test_retracted_requests_go_on_with_their_forced_text() -> None:
    scheduler = Toy(tokenizer=WORDS, slots=96, chunk=64).build()
    work = [Asked(6, (i, 1, 2)) for i in range(8)]
    for i, one in enumerate(work):
        scheduler.send(one.message(str(i)))
    scheduler.run()
    assert scheduler.scheduler.stats.retractions > 0
    for i, one in enumerate(work):
        assert scheduler.outcomes[str(i)].ids == alone(one).ids


def test_several_outputs_of_one_prompt_share_its_cache_and_each_match() -> None:
    scheduler = Toy(tokenizer=WORDS, page_size=1).build()
    prompt = list(range(40))
    for seed in range(4):
        fields: dict[str, Any] = {"regex": PATTERNS[0], "temperature": 1e4, "seed": seed}
        scheduler.send(request(str(seed), prompt, 120, **fields))
    scheduler.run()
    texts = {text_of(outcome.ids).decode() for outcome in scheduler.outcomes.values()}
    assert len(texts) == 4 and all(re.fullmatch(PATTERNS[0], text) for text in texts)
    last = [outcome.last for outcome in scheduler.outcomes.values()]
    assert sum(output is not None and output.cached_tokens > 0 for output in last) == 3


def test_what_a_stream_has_shown_stays_a_prefix_of_the_text() -> None:
    scheduler = Toy(tokenizer=WORDS).build()
    work = [Asked(i % 2, (i, 7), 120, stream=True) for i in range(20)]
    for i, one in enumerate(work):
        scheduler.send(one.message(str(i)))
    shown = [b""] * len(work)
    withdrawn = 0
    while any(outcome.finish is None for outcome in scheduler.outcomes.values()):
        scheduler.step()
        for i, outcome in enumerate(scheduler.outcomes.values()):
            text = text_of(outcome.ids)
            assert text.startswith(shown[i]) or shown[i].startswith(text)
            shown[i] = max(text, shown[i], key=len)
    withdrawn = sum(outcome.withdrawn for outcome in scheduler.outcomes.values())
    assert withdrawn > 0, "no output was ever retokenised: the test shows nothing"
    assert all(text_of(o.ids) == s for o, s in zip(scheduler.outcomes.values(), shown, strict=True))


REASONING_END = "da!"
THINKING = {**dict.fromkeys(b"abcd!", 24.0), 128 + 8: 24.0}


def thinking(rid: str, seed: int, **fields: Any) -> GenerateRequest:
    """A constrained request that reasons first, in random letters."""
    return request(
        rid,
        [seed, 5],
        fields.pop("max_new_tokens", 150),
        regex=PATTERNS[0],
        reasoning_end=REASONING_END,
        temperature=1.0,
        seed=seed,
        logit_bias=THINKING,
        **fields,
    )


def run_thinking(toy: Toy, **fields: Any) -> list[Outcome]:
    scheduler = toy.build()
    for seed in range(6):
        scheduler.send(thinking(str(seed), seed, **fields))
    scheduler.run()
    scheduler.check_slots()
    return [scheduler.outcomes[str(seed)] for seed in range(6)]


@pytest.mark.parametrize("jump_forward", [True, False])
def test_reasoning_comes_first_and_the_grammar_rules_what_follows(jump_forward: bool) -> None:
    toy = Toy(tokenizer=WORDS, jump_forward=jump_forward, overlap=False, cache=False)
    calm = run_thinking(toy, max_new_tokens=220)
    reasons = set()
    for outcome in calm:
        text = text_of([i for i in outcome.ids if i != EOS]).decode()
        assert outcome.finish is not None
        reasons.add(outcome.finish.type)
        reasoning, end, answer = text.partition(REASONING_END)
        if outcome.finish.type == "stop":
            assert end and re.fullmatch(PATTERNS[0], answer)
    assert "stop" in reasons
    crowded = replace(toy, slots=300, context_len=256, overlap=True, cache=True, late=True)
    for fields in ({}, {"return_logprob": True}, {"stream": True}):
        again = run_thinking(crowded, max_new_tokens=220, **fields)
        assert [o.ids for o in again] == [o.ids for o in calm]


def test_reasoning_that_is_cut_ends_with_reason_length() -> None:
    for outcome in run_thinking(Toy(tokenizer=WORDS), max_new_tokens=3):
        assert outcome.finish is not None and outcome.finish.type == "length"
        assert len(outcome.ids) == 3


def test_what_is_not_enforced_is_told() -> None:
    scheduler = Toy().build()
    schema = '{"type": "array", "uniqueItems": true}'
    scheduler.send(request("strict", [1], 20, json_schema=schema))
    scheduler.send(request("relaxed", [1], 20, json_schema=schema, strict=False))
    scheduler.run()
    finish = scheduler.outcomes["strict"].finish
    assert finish is not None and finish.status_code == 400 and "uniqueItems" in str(finish.message)
    last = scheduler.outcomes["relaxed"].last
    assert last is not None and len(last.warnings) == 1 and "uniqueItems" in last.warnings[0]
