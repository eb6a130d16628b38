"""SGLang's own request over an echoing scheduler."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.errors import EngineDeadError
from tests.runtime.server.saying import LAST, saying
from tests.runtime.server.sse import events
from tests.runtime.text.echo import Side

JSON = dict[str, Any]


async def test_nulls_and_unknown_fields_are_as_if_left_out(client: httpx.AsyncClient) -> None:
    names = ["input_ids", "rid", "stream", "return_logprob", "logprob_start_len", "priority"]
    names += ["top_logprobs_num", "return_text_in_logprobs", "sampling_params", "cache_salt"]
    body: JSON = dict.fromkeys([*names, "add_special_tokens"])
    response = await client.post("/generate", json=body | {"text": "abc", "bootstrap_room": 1})
    assert response.status_code == 200, response.text
    assert response.json()["text"] == "abc"


async def test_streams_are_cumulative_and_batches_carry_an_index(client: httpx.AsyncClient) -> None:
    body = {"text": ["ab", "xyz"], "stream": True}
    found = events((await client.post("/generate", json=body)).text)
    assert {event["index"] for event in found} == {0, 1}
    for index, whole in enumerate(("ab", "xyz")):
        texts = [event["text"] for event in found if event["index"] == index]
        assert texts[0] == whole[0] and texts[-1] == whole
        assert all(later.startswith(text) for text, later in pairwise(texts))


async def test_logprobs_name_their_text_when_asked(client: httpx.AsyncClient) -> None:
    body: JSON = {
        "text": "ab",
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": 1,
    }
    meta = (await client.post("/generate", json=body)).json()["meta_info"]
    assert meta["output_token_logprobs"] == [[-97.0, 97, None], [-98.0, 98, None]]
    assert meta["input_token_logprobs"] == meta["output_token_logprobs"]
    body["return_text_in_logprobs"] = True
    meta = (await client.post("/generate", json=body)).json()["meta_info"]
    assert [entry[2] for entry in meta["output_token_logprobs"]] == ["a", "b"]
    assert meta["output_top_logprobs"] == [[[-97.0, 97, "a"]], [[-98.0, 98, "b"]]]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_token_is_aborted(
    client: httpx.AsyncClient, side: Side, stream: bool
) -> None:
    """Calls the application itself: httpx's transport cannot leave while it waits."""
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    gone = asyncio.Event()
    body = b'{"text": "hang", "stream": %s}' % (b"true" if stream else b"false")
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if parts:
            return parts.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/generate",
        "raw_path": b"/generate",
        "query_string": b"",
        "headers": [],
    }
    call = asyncio.ensure_future(transport.app(scope, receive, send))
    await side.until_hanging(1)
    assert not side.scheduler.aborted
    gone.set()
    await asyncio.wait_for(call, 10)
    await asyncio.sleep(0)
    assert side.scheduler.aborted == [side.scheduler.requests[0].rid]


async def test_a_stream_that_dies_says_why_and_ends(client: httpx.AsyncClient, side: Side) -> None:
    body = {"text": ["ab", "hang"], "stream": True}
    running = asyncio.ensure_future(client.post("/generate", json=body))
    await side.until_hanging(2)
    for _ in range(20):
        await asyncio.sleep(0)
    side.manager.detach(EngineDeadError("the scheduler died"))
    found = events((await running).text)
    assert "ab".startswith(found[0]["text"])
    assert found[-1]["error"]["type"] == "service_unavailable_error"


@pytest.mark.parametrize("by_flag", [False, True])
async def test_a_stream_may_carry_what_is_new_only(connect: Any, by_flag: bool) -> None:
    body: JSON = {"text": ["añb", "xyz"], "stream": True, "return_logprob": True}
    if not by_flag:
        body["incremental_streaming_output"] = True
    async with connect(incremental_streaming_output=by_flag) as client:
        found = events((await client.post("/generate", json=body)).text)
    for index, whole in enumerate(("añb", "xyz")):
        own = [event for event in found if event["index"] == index]
        assert len(own) > 1
        assert "".join(event["text"] for event in own) == whole
        ids = [i for event in own for i in event["output_ids"]]
        assert ids == list(whole.encode())
        entries = [e for event in own for e in event["meta_info"]["output_token_logprobs"]]
        assert [entry[1] for entry in entries] == ids
        counts = [event["meta_info"]["completion_tokens"] for event in own]
        assert counts == sorted(counts) and counts[-1] == len(ids)


async def test_options_may_be_lists_one_for_each_prompt(client: httpx.AsyncClient) -> None:
    body = {
        "text": ["ab", "cd"],
        "return_logprob": [True, False],
        "logprob_start_len": [1, -1],
        "top_logprobs_num": [2, 0],
        "sampling_params": [{"max_new_tokens": 1}, {"max_new_tokens": 2}],
    }
    first, second = (await client.post("/generate", json=body)).json()
    assert [entry[1] for entry in first["meta_info"]["input_token_logprobs"]] == [98]
    assert len(first["meta_info"]["output_top_logprobs"][0]) == 2
    assert "output_token_logprobs" not in second["meta_info"]
    assert (first["text"], second["text"]) == ("a", "cd")
    refused = await client.post("/generate", json=body | {"top_logprobs_num": [1]})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "top_logprobs_num"


async def test_token_ids_to_score_may_differ_by_prompt(
    client: httpx.AsyncClient, side: Side
) -> None:
    body: JSON = {"text": ["ab", "cd"], "return_logprob": True, "token_ids_logprob": [[5, 6], None]}
    await client.post("/generate", json=body)
    assert [r.token_ids_logprob for r in side.scheduler.requests] == [[5, 6], []]
    await client.post("/generate", json=body | {"token_ids_logprob": [7]})
    assert [r.token_ids_logprob for r in side.scheduler.requests[2:]] == [[7], [7]]


async def test_responses_can_name_the_prompts_ids(client: httpx.AsyncClient) -> None:
    body = {"text": "é", "return_prompt_token_ids": True, "sampling_params": {"n": 2}}
    responses = (await client.post("/generate", json=body)).json()
    assert [one["prompt_token_ids"] for one in responses] == [[195, 169]] * 2


async def test_a_chat_may_stand_ahead_of_the_text(client: httpx.AsyncClient, side: Side) -> None:
    chat = {"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": True}
    body: JSON = {"chat": chat, "text": "So", "sampling_params": {"max_new_tokens": 3}}
    answer = (await client.post("/generate", json=body)).json()
    assert answer["opening"] == "<user>a</user><assistant>"
    assert bytes(side.scheduler.requests[0].input_ids) == b"<user>a</user><assistant>So"
    streamed = events((await client.post("/generate", json=body | {"stream": True})).text)
    assert {event["opening"] for event in streamed} == {answer["opening"]}
    session = (await client.post("/open_session", json={"capacity_of_str_len": 64})).json()
    wrong: list[JSON] = [{"text": ["a"]}, {"input_ids": [1]}, {"session_params": {"id": session}}]
    for fields in wrong:
        refused = await client.post("/generate", json=body | fields)
        assert refused.status_code == 400, fields


async def test_meta_info_has_upstreams_fields() -> None:
    async with saying(LAST, reasoning_parser="qwen3") as (client, _):
        params = {"max_new_tokens": 64}
        body = {"text": ["<think>Hm.</think>Yes", "</think>"], "sampling_params": params}
        metas = [one["meta_info"] for one in (await client.post("/generate", json=body)).json()]
    assert [meta["reasoning_tokens"] for meta in metas] == [len("<think>Hm.</think>"), 0]
    assert metas[0]["dp_rank"] == 0
    assert metas[0]["cached_tokens_details"] == {"device": 1, "host": 0}
    assert metas[0]["finish_reason"] == {"type": "stop", "matched": None}


async def test_a_sampling_parameter_that_is_null_is_not_set(client: httpx.AsyncClient) -> None:
    body = {"text": "ab", "sampling_params": {"beam_width": None, "top_p": None}}
    assert (await client.post("/generate", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_ids_logprob", [257]),
        ("token_ids_logprob", [-1]),
        ("token_ids_logprob", [0] * 4097),
        ("top_logprobs_num", 258),
        ("top_logprobs_num", -1),
        ("logprob_start_len", 3),
    ],
)
async def test_logprobs_that_no_model_has_are_refused_before_it_sees_them(
    client: httpx.AsyncClient, side: Side, field: str, value: Any
) -> None:
    body = {"text": "ab", "return_logprob": True, field: value}
    response = await client.post("/generate", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
    assert not side.scheduler.requests
