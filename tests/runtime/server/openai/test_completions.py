"""The OpenAI routes over an echoing scheduler."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.messages import Logprobs
from sglang_lang.runtime.server.openai.completions import best
from sglang_lang.runtime.text.generation import Generation
from tests.runtime.server.sse import events
from tests.runtime.text.echo import Side

JSON = dict[str, Any]
CHAT: JSON = {"messages": [{"role": "user", "content": "hi"}]}
CHAT_TEXT = "<user>hi</user><assistant>"


async def test_a_completion_streams_what_it_answers_whole(client: httpx.AsyncClient) -> None:
    body: JSON = {"prompt": ["añb", "cd"], "n": 2, "max_tokens": 4, "stop": "ñ"}
    whole = (await client.post("/v1/completions", json=body)).json()
    texts = [choice["text"] for choice in whole["choices"]]
    assert texts == ["a", "a", "cd", "cd"]
    assert [c["finish_reason"] for c in whole["choices"]] == ["stop"] * 4
    assert whole["choices"][0]["matched_stop"] == "ñ"
    usage = whole["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (6, 2)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = events((await client.post("/v1/completions", json=body | options)).text)
    assert chunks[-1]["usage"] == usage and chunks[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    streamed = ["", "", "", ""]
    for chunk in chunks[:-1]:
        [choice] = chunk["choices"]
        streamed[choice["index"]] += choice["text"]
    assert streamed == texts


async def test_usage_can_come_with_every_chunk(client: httpx.AsyncClient) -> None:
    body = {"prompt": "abc", "stream": True, "stream_options": {"continuous_usage_stats": True}}
    chunks = events((await client.post("/v1/completions", json=body)).text)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == 3
    shown = [
        len("".join(c["choices"][0]["text"] for c in chunks[: i + 1])) for i in range(len(chunks))
    ]
    assert counts == shown


async def test_echo_and_offsets_go_on_through_a_stream(client: httpx.AsyncClient) -> None:
    body = {"prompt": "abc", "logprobs": 1, "echo": True, "max_tokens": 2}
    whole = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert whole["text"] == "abcab"
    assert whole["logprobs"]["tokens"] == ["a", "b", "c", "a", "b"]
    assert whole["logprobs"]["text_offset"] == [0, 1, 2, 3, 4]
    chunks = events((await client.post("/v1/completions", json=body | {"stream": True})).text)
    for name in ("tokens", "text_offset", "token_logprobs", "top_logprobs"):
        joined = [x for chunk in chunks for x in chunk["choices"][0]["logprobs"][name]]
        assert joined == whole["logprobs"][name]


async def test_logprobs_of_half_a_character_come_with_its_other_half(
    client: httpx.AsyncClient,
) -> None:
    body = {"prompt": "aéz", "logprobs": 1, "max_tokens": 4}
    whole = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert len(whole["logprobs"]["tokens"]) == 4
    chunks = events((await client.post("/v1/completions", json=body | {"stream": True})).text)
    for name in ("tokens", "text_offset", "token_logprobs", "top_logprobs"):
        joined = [x for chunk in chunks for x in chunk["choices"][0]["logprobs"][name]]
        assert joined == whole["logprobs"][name]


@pytest.mark.parametrize("model", [None, "", "default", "unknown", "echo"])
async def test_names_of_the_served_model(client: httpx.AsyncClient, model: str | None) -> None:
    response = await client.post("/v1/completions", json={"model": model, "prompt": "x"})
    assert response.status_code == 200
    assert response.json()["model"] == "echo"


async def test_another_models_name_is_404(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", json={"model": "gpt-9", "prompt": "x"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert (await client.get("/v1/models/gpt-9")).status_code == 404
    assert (await client.get("/v1/models/echo")).json()["id"] == "echo"


CONSTRAINTS: list[tuple[JSON, str, Any]] = [
    ({"regex": "a+"}, "regex", "a+"),
    ({"choices": ["a", "b"]}, "choices", ["a", "b"]),
    ({"ebnf": 'root ::= "a"'}, "ebnf", 'root ::= "a"'),
    ({"json_schema": {"type": "null"}}, "json_schema", '{"type": "null"}'),
    ({"response_format": {"type": "json_object"}}, "json_schema", '{"type": "object"}'),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": True}}},
        "json_schema",
        "true",
    ),
    ({"response_format": {"type": "text"}}, "regex", None),
]


@pytest.mark.parametrize(("fields", "name", "value"), CONSTRAINTS)
async def test_constraints_reach_the_scheduler(
    client: httpx.AsyncClient, side: Side, fields: JSON, name: str, value: Any
) -> None:
    response = await client.post("/v1/chat/completions", json=CHAT | fields)
    assert response.status_code == 200, response.text
    assert getattr(side.scheduler.requests[0].sampling_params, name) == value


@pytest.mark.parametrize("name", ["guided_json", "guided_regex", "guided_choice", "guided_grammar"])
async def test_constraints_under_old_names_are_refused_not_dropped(
    client: httpx.AsyncClient, name: str
) -> None:
    response = await client.post("/v1/chat/completions", json=CHAT | {name: "a"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name


async def test_a_null_is_a_field_left_out(client: httpx.AsyncClient) -> None:
    names = ["stream", "stream_options", "n", "stop", "logprobs", "top_logprobs", "tools", "user"]
    names += ["ignore_eos", "skip_special_tokens", "no_stop_trim", "continue_final_message", "seed"]
    response = await client.post("/v1/chat/completions", json=CHAT | dict.fromkeys(names))
    assert response.status_code == 200, response.text
    names = ["echo", "best_of", "suffix", "max_tokens", "logit_bias", "min_tokens", "top_k"]
    response = await client.post("/v1/completions", json={"prompt": "x"} | dict.fromkeys(names))
    assert response.status_code == 200, response.text


async def test_a_body_too_large_is_413(connect: Any) -> None:
    async with connect(max_body_size=100) as client:
        response = await client.post("/v1/completions", json={"prompt": "x" * 101})
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_every_kind_of_damage_is_a_400(client: httpx.AsyncClient) -> None:
    for body in (b"", b"[]", b"nul", b'"\xff"', b'{"prompt": "\\ud800"}', b"[" * 100_000):
        response = await client.post("/v1/completions", content=body)
        assert response.status_code == 400, body[:20]
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_abort_ends_a_stream_with_an_error_event(
    client: httpx.AsyncClient, side: Side
) -> None:
    body = {"prompt": ["ab", "hang"], "stream": True, "rid": "r"}
    running = asyncio.ensure_future(client.post("/v1/completions", json=body))
    await side.until_hanging(2)
    for _ in range(20):
        await asyncio.sleep(0)
    await client.post("/abort_request", json={"abort_all": True})
    found = events((await running).text)
    assert found[-1]["error"]["code"] == "request_aborted"


async def test_the_best_of_several_is_kept(client: httpx.AsyncClient, side: Side) -> None:
    body = {"prompt": "b", "n": 1, "best_of": 3, "seed": 5}
    answer = (await client.post("/v1/completions", json=body)).json()
    assert len(answer["choices"]) == 1 and answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["completion_tokens"] == 3
    assert [r.sampling_params.seed for r in side.scheduler.requests] == [5, 6, 7]
    for fields in ({"best_of": 1, "n": 2}, {"best_of": 2, "stream": True}, {"best_of": 99}):
        response = await client.post("/v1/completions", json={"prompt": "b"} | fields)
        assert response.json()["error"]["param"] == "best_of"


async def test_the_likeliest_candidates_come_first() -> None:
    def candidate(rid: str, *values: float) -> Generation:
        logprobs = Logprobs([1] * len(values), list(values))
        return Generation(rid, output_logprobs=logprobs)

    candidates = [candidate("a", -3.0), candidate("b", -1.0, -2.0), candidate("c", -1.0)]
    assert [g.rid for g in best(candidates, 2)] == ["c", "b"]
    assert best(candidates, 3) is candidates


async def test_a_suffix_needs_a_model_made_for_it(client: httpx.AsyncClient) -> None:
    body = {"prompt": "def f(", "suffix": "return 1"}
    response = await client.post("/v1/completions", json=body)
    assert response.status_code == 400 and response.json()["error"]["param"] == "suffix"


async def test_a_refused_constraint_is_named_as_the_client_wrote_it(
    client: httpx.AsyncClient, side: Side
) -> None:
    side.scheduler.refuses = "json_schema"
    wanted: JSON = {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}
    response = await client.post("/v1/completions", json={"prompt": "x", "response_format": wanted})
    assert response.json()["error"]["param"] == "response_format"
    side.scheduler.refuses = "max_new_tokens"
    response = await client.post("/v1/completions", json={"prompt": "x", "stream": True})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "max_tokens"
