"""Drafts are copies of what stood before; verifying them changes steps, never tokens."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.runtime.scheduler.batch import Part
from sglang_lang.runtime.scheduler.speculation import LONGEST_MATCH, NgramSpeculation, propose

from .toy import Outcome, Toy, request, waiting

COPY = (
    r"(ab){30}"  # decoded token by token where jump-forward is off; copied from its third byte on
)
TOY = Toy(jump_forward=False)
DRAFTING = replace(TOY, speculation=NgramSpeculation(8, 2, 4))


def proposed(tokens: list[int], most: int = 4, min_match: int = 1) -> list[int]:
    return propose(np.array(tokens, dtype=np.int32), most, min_match)


def by_looking_everywhere(tokens: list[int], most: int, min_match: int) -> list[int]:
    for length in range(min(LONGEST_MATCH, len(tokens) - 1), min_match - 1, -1):
        for end in range(len(tokens) - 1, length - 1, -1):
            if tokens[end - length : end] == tokens[-length:]:
                return list(islice(cycle(tokens[end:]), most))
    return []


def test_what_followed_the_longest_copy_is_proposed() -> None:
    assert proposed([1, 2, 3, 9, 2, 3, 7, 1, 2, 3]) == [9, 2, 3, 7]


def test_of_equal_copies_the_latest_counts() -> None:
    assert proposed([1, 5, 1, 6, 1]) == [6, 1, 6, 1]


def test_nothing_is_proposed_for_too_short_a_copy() -> None:
    assert proposed([1, 2, 9, 3, 2], min_match=2) == []


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=60),
    st.integers(1, 8),
    st.integers(1, 5),
)
def test_proposals_equal_a_search_of_everything(
    tokens: list[int], most: int, min_match: int
) -> None:
    assert proposed(tokens, most, min_match) == by_looking_everywhere(tokens, most, min_match)


def run(toy: Toy, **fields: Any) -> tuple[Outcome, int]:
    """The outcome of one request, and the steps that it took."""
    scheduler = toy.build()
    scheduler.send(request("0", [1, 2, 3], **fields))
    scheduler.run()
    scheduler.check_slots()
    return scheduler.outcomes["0"], scheduler.scheduler.stats.steps


@pytest.mark.parametrize("page_size", [1, 16])
def test_drafts_that_come_true_save_steps(page_size: int) -> None:
    plain, plain_steps = run(TOY, max_new_tokens=60, regex=COPY)
    drafted, steps = run(replace(DRAFTING, page_size=page_size), max_new_tokens=60, regex=COPY)
    assert drafted.ids == plain.ids
    assert drafted.last is not None and drafted.last.accepted_tokens > 40
    assert steps < plain_steps / 3


def test_how_far_drafts_came_true_is_measured() -> None:
    scheduler = DRAFTING.build()
    scheduler.send(request("0", [1, 2, 3], max_new_tokens=60, regex=COPY))
    scheduler.run()
    stats = scheduler.scheduler.stats
    assert 0.9 < stats.spec_accept_rate <= 1
    assert 2 < stats.spec_accept_length <= 9


def test_sampled_texts_are_those_without_drafts() -> None:
    # Half the mass on each letter: every draft is a coin thrown for each of its tokens.
    def sampled(toy: Toy) -> tuple[list[list[int]], int, int]:
        scheduler = toy.build()
        for seed in range(20):
            message = request(str(seed), [1, 2], 50, regex="[ab]{60}", temperature=1e4, seed=seed)
            scheduler.send(message)
        scheduler.run()
        stats = scheduler.scheduler.stats
        texts = [scheduler.outcomes[str(seed)].ids for seed in range(20)]
        return texts, stats.drafted_tokens, stats.accepted_tokens

    plain, *_ = sampled(TOY)
    texts, drafted, accepted = sampled(replace(DRAFTING, speculation=NgramSpeculation(8, 2, 20)))
    assert texts == plain
    assert drafted / 8 < accepted < drafted


def test_drafted_tokens_have_their_logprobs() -> None:
    fields = {"max_new_tokens": 40, "regex": COPY, "return_logprob": True}
    plain, _ = run(TOY, **fields)
    drafted, _ = run(DRAFTING, **fields)
    assert drafted.last is not None and drafted.last.accepted_tokens
    assert drafted.output_logprobs == plain.output_logprobs


def test_a_stop_string_inside_a_draft_ends_there() -> None:
    plain, _ = run(TOY, max_new_tokens=60, regex=r"(abc){9}d(abc){9}", stop=["cdab"])
    drafted, _ = run(DRAFTING, max_new_tokens=60, regex=r"(abc){9}d(abc){9}", stop=["cdab"])
    assert drafted.ids == plain.ids and drafted.finish == plain.finish


def test_a_draft_never_passes_the_token_budget() -> None:
    drafted, _ = run(DRAFTING, max_new_tokens=17, regex=COPY)
    assert len(drafted.ids) == 17
    assert drafted.finish is not None and drafted.finish.type == "length"


def test_drafts_take_no_memory_from_others() -> None:
    scheduler = replace(DRAFTING, slots=70, max_running=2).build()
    for rid in ("0", "1"):
        scheduler.send(request(rid, [1, 2, 3], max_new_tokens=28, regex=COPY))
    scheduler.run()
    assert scheduler.scheduler.stats.retractions == 0
    assert scheduler.scheduler.stats.accepted_tokens > 0


@pytest.mark.parametrize(("count", "drafted"), [(4, True), (5, False)])
def test_only_small_steps_have_drafts(count: int, drafted: bool) -> None:
    reqs = waiting(*([1, 2, 1, 2, 1] for _ in range(count)))
    parts = [Part(req, len(req.tokens) - 1, 1, True) for req in reqs]
    NgramSpeculation(8, 2, 4).extend(parts, free_slots=1000, page_size=1)
    assert [bool(part.draft) for part in parts] == [drafted] * count


def test_requests_that_join_at_any_step_change_nothing() -> None:
    """Also one with a draft that fails: the next step, of more requests, has no drafts."""
    fields: dict[str, Any] = {"max_new_tokens": 60, "regex": "[ab]{60}"}
    fields |= {"temperature": 1e4, "seed": 3}
    alone = run(TOY, **fields)[0].ids
    for steps in range(60):
        scheduler = DRAFTING.build()
        scheduler.send(request("0", [1, 2, 3], **fields))
        while not scheduler.scheduler.queues.running:
            scheduler.step()
        for _ in range(steps):
            scheduler.step()
        for i in range(1, 6):
            scheduler.send(request(str(i), [i], 20))
        scheduler.run()
        scheduler.check_slots()
        assert scheduler.outcomes["0"].ids == alone, steps


def test_requests_with_penalties_are_not_drafted_for() -> None:
    drafted, _ = run(DRAFTING, max_new_tokens=40, regex=COPY, frequency_penalty=0.1)
    assert drafted.last is not None and drafted.last.drafted_tokens == 0
