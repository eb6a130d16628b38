"""The life of a request on the text side: checked, followed, ended exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sglang_lang.runtime.errors import (
    CapacityError,
    EngineDeadError,
    PromptTooLongError,
    RequestError,
)
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.text.tokenizer_manager import GenerateInput, with_samples
from tests.runtime.text.echo import CONTEXT, Side

HANG = GenerateInput(text="hang", rid="h")


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    async with Side() as made:
        yield made


async def test_the_whole_output_comes_with_its_counts(side: Side) -> None:
    done = await side.manager.generate(GenerateInput(text="héllo", rid="mine"))
    assert (done.rid, done.text, done.output_ids) == ("mine", "héllo", list("héllo".encode()))
    assert (done.prompt_tokens, done.completion_tokens, done.cached_tokens) == (6, 6, 1)
    assert done.finish is not None and done.finish.type == "stop"
    assert side.manager.num_live == 0


async def test_a_streams_deltas_join_to_its_text(side: Side) -> None:
    params = SamplingParams(stop=["STOP"])
    deltas = [
        g.delta
        async for g in side.manager.stream(
            GenerateInput(text="añb STOP c", stream=True, sampling_params=params)
        )
    ]
    assert "".join(deltas) == "añb "
    assert len(deltas) > 3


async def test_a_slow_reader_gets_everything_later(side: Side) -> None:
    """What arrives while a reader is busy neither changes what it holds nor is lost."""
    stream = side.manager.stream(GenerateInput(text="abcdef", stream=True))
    first = await anext(stream)
    held = (first.delta, first.text, list(first.output_ids), first.finish)
    while side.manager.num_live:
        await asyncio.sleep(0)
    assert (first.delta, first.text, first.output_ids, first.finish) == held
    rest = [(g.delta, g.finish) async for g in stream]
    assert [delta for delta, _ in rest] == ["abcdef"[len(held[0]) :]]
    assert rest[0][1] is not None


async def test_leaving_a_stream_aborts_it(side: Side) -> None:
    reader = asyncio.ensure_future(side.manager.generate(HANG))
    await side.until_hanging(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert side.scheduler.aborted == [side.scheduler.requests[0].rid]
    assert side.manager.num_live == 0


async def test_aborting_a_request_spares_those_whose_rid_it_begins(side: Side) -> None:
    tasks = [
        asyncio.ensure_future(side.manager.generate(replace(HANG, rid=rid)))
        for rid in ("job-1", "job-10")
    ]
    await side.until_hanging(2)
    tasks[0].cancel()
    await asyncio.wait(tasks, timeout=0.05)
    assert not tasks[1].done()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_abort_by_prefix_ends_all_it_names_and_no_other(side: Side) -> None:
    rids = ("a-1", "a-2", "b-1")
    tasks = [asyncio.ensure_future(side.manager.generate(replace(HANG, rid=r))) for r in rids]
    await side.until_hanging(3)
    side.manager.abort("a-")
    for task in tasks[:2]:
        with pytest.raises(RequestError) as caught:
            await task
        assert caught.value.status == 499
    assert not tasks[2].done()
    side.manager.abort("")
    with pytest.raises(RequestError):
        await tasks[2]


async def test_a_rid_is_taken_while_its_request_runs(side: Side) -> None:
    first = asyncio.ensure_future(side.manager.generate(HANG))
    await side.until_hanging(1)
    with pytest.raises(RequestError) as caught:
        await side.manager.generate(HANG)
    assert caught.value.param == "rid"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await side.manager.generate(GenerateInput(text="x", rid="h"))).text == "x"


async def test_a_dead_scheduler_fails_every_request_and_later_ones(side: Side) -> None:
    tasks = [asyncio.ensure_future(side.manager.generate(replace(HANG, rid=r))) for r in "abc"]
    await side.until_hanging(3)
    control = asyncio.ensure_future(side.manager.control("stats"))
    await asyncio.sleep(0)
    side.manager.detach(EngineDeadError("it died"))
    for task in (*tasks, control):
        with pytest.raises(EngineDeadError, match="it died"):
            await task
    assert not side.manager.is_alive
    with pytest.raises(EngineDeadError, match="not running"):
        await side.manager.generate(HANG)


async def test_a_full_queue_refuses() -> None:
    """One may wait beside the eight that a batch holds."""
    async with Side(max_queued=1) as side:
        hanging = [
            asyncio.ensure_future(side.manager.generate(replace(HANG, rid=str(i))))
            for i in range(9)
        ]
        await side.until_hanging(9)
        with pytest.raises(CapacityError, match="1 requests are waiting"):
            await side.manager.generate(replace(HANG, rid="other"))
        for request in hanging:
            request.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_request_that_takes_too_long_is_aborted() -> None:
    async with Side(timeout=0.01) as side:
        with pytest.raises(RequestError, match=r"longer than 0.01 s") as caught:
            await side.manager.generate(HANG)
        assert caught.value.status == 408
        assert side.scheduler.aborted == ["h"]
        assert side.manager.num_live == 0


async def test_one_bad_request_of_several_ends_the_others(side: Side) -> None:
    with pytest.raises(RequestError, match="empty"):
        await side.manager.generate_all([HANG, GenerateInput(input_ids=[])])
    await asyncio.sleep(0)
    assert side.manager.num_live == 0


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (GenerateInput(text=""), "text"),
        (GenerateInput(), "text"),
        (GenerateInput(text="a", input_ids=[1]), "text"),
        (GenerateInput(input_ids=[257]), "input_ids"),
        (GenerateInput(input_ids=[-1]), "input_ids"),
        (GenerateInput(input_ids=[True]), "input_ids"),
        (GenerateInput(input_ids=[1], logprob_start_len=2), "logprob_start_len"),
        (GenerateInput(text="a", sampling_params=SamplingParams(top_p=0.0)), "top_p"),
        (GenerateInput(text="a", sampling_params=SamplingParams(stop_token_ids=[900])), None),
    ],
)
async def test_a_wrong_request_is_refused_by_name(
    side: Side, request_: GenerateInput, param: str | None
) -> None:
    with pytest.raises(RequestError) as caught:
        await side.manager.generate(request_)
    assert caught.value.param == (param or "stop_token_ids")
    assert not side.scheduler.requests


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 1, 5_000_000])
async def test_a_prompt_that_cannot_fit_is_refused(side: Side, length: int) -> None:
    with pytest.raises(PromptTooLongError) as caught:
        await side.manager.generate(GenerateInput(text="x" * length, prompt_field="prompt"))
    assert caught.value.param == "prompt"
    assert caught.value.code == "context_length_exceeded"


def test_samples_of_a_seeded_request_differ_in_seed_and_rid() -> None:
    request = GenerateInput(text="a", sampling_params=SamplingParams(n=3, seed=7))
    samples = with_samples(request, "r")
    assert [s.sampling_params.seed for s in samples] == [7, 8, 9]
    assert [s.rid for s in samples] == ["r_0", "r_1", "r_2"]
    assert all(s.sampling_params.n == 1 for s in samples)


async def test_a_batch_is_sent_in_the_order_of_its_prefix_tree_and_answered_in_its_own(
    side: Side,
) -> None:
    texts = ["b stem 2", "a stem 1", "b stem", "a stem 3", "b stem 1", "a stem 2"]
    done = await side.manager.generate_all([GenerateInput(text=text) for text in texts])
    assert [d.text for d in done] == texts
    sent = [bytes(request.input_ids).decode() for request in side.scheduler.requests]
    assert sent == sorted(texts)


async def test_an_error_in_a_batch_names_the_field_that_the_client_used(side: Side) -> None:
    with pytest.raises(RequestError) as caught:
        await side.manager.generate_all([GenerateInput(text="fine"), GenerateInput(text="")])
    assert caught.value.param == "text"
    assert side.scheduler.requests == []
