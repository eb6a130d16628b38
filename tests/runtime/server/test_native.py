"""SGLang's own routes over an echoing scheduler."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.errors import EngineDeadError
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


async def test_abort_request_ends_what_it_names(client: httpx.AsyncClient, side: Side) -> None:
    running = asyncio.ensure_future(client.post("/generate", json={"text": "hang", "rid": "r-1"}))
    await side.until_hanging(1)
    refused = await client.post("/abort_request", json={"rid": None})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "rid"
    await client.post("/abort_request", json={"rid": "r-"})
    response = await running
    assert response.status_code == 499
    assert response.json()["error"]["code"] == "request_aborted"


async def test_a_dead_scheduler_is_503_everywhere(client: httpx.AsyncClient, side: Side) -> None:
    running = asyncio.ensure_future(client.post("/generate", json={"text": "hang"}))
    await side.until_hanging(1)
    assert (await client.get("/health")).status_code == 200
    side.manager.detach(EngineDeadError("the scheduler died"))
    assert (await running).status_code == 503
    for path in ("/health", "/health_generate", "/server_info"):
        assert (await client.get(path)).status_code == 503
    refused = await client.post("/generate", json={"text": "x"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"]


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


async def test_tokens_go_there_and_back(client: httpx.AsyncClient) -> None:
    one = (await client.post("/tokenize", json={"prompt": "é"})).json()
    assert one == {"tokens": [195, 169], "count": 2, "max_model_len": 256}
    several = (await client.post("/tokenize", json={"prompt": ["a", "bc"]})).json()
    assert several["tokens"] == [[97], [98, 99]] and several["count"] == [1, 2]
    back = await client.post("/detokenize", json={"tokens": several["tokens"]})
    assert back.json() == {"text": ["a", "bc"]}
    wrong = await client.post("/detokenize", json={"tokens": [999]})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "tokens"


async def test_keys_are_asked_for_but_not_by_health(connect: Any) -> None:
    async with connect(api_key=("s3cret",)) as client:
        refused = await client.post("/generate", json={"text": "x"})
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get("/health")).status_code == 200
        headers = {"Authorization": "Bearer s3cret"}
        allowed = await client.post("/generate", json={"text": "x"}, headers=headers)
        assert allowed.status_code == 200
        info = (await client.get("/server_info", headers=headers)).text
        assert "s3cret" not in info
