"""The real server with the real model, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .server import ServerProcess, running_server

pytestmark = pytest.mark.slow
JSON = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server() as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as made:
        yield made


def sse(text: str) -> list[JSON]:
    """The events of a stream; it must end as streams do."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


GREEDY = {"temperature": 0, "max_new_tokens": 12}


def test_generate_answers_text_ids_and_meta_info(client: httpx.Client) -> None:
    body = {"text": "The capital of France is", "sampling_params": GREEDY}
    response = client.post("/generate", json=body).json()
    assert response["text"].startswith(" Paris")
    assert len(response["output_ids"]) == 12
    meta = response["meta_info"]
    assert (meta["prompt_tokens"], meta["completion_tokens"]) == (5, 12)
    assert meta["finish_reason"]["type"] == "length"
    again = client.post("/generate", json=body).json()
    assert again["text"] == response["text"]
    assert again["meta_info"]["cached_tokens"] == 4


def test_generate_takes_batches_ids_and_n(client: httpx.Client) -> None:
    ids = client.post("/tokenize", json={"prompt": "The capital of France is"}).json()["tokens"]
    body = {"input_ids": [ids, ids[:3]], "sampling_params": {**GREEDY, "n": 2}}
    responses = client.post("/generate", json=body).json()
    assert len(responses) == 4
    assert responses[0]["text"] == responses[1]["text"]
    assert responses[0]["text"].startswith(" Paris")
    text = client.post("/detokenize", json={"tokens": responses[0]["output_ids"]}).json()["text"]
    assert text == responses[0]["text"]


def test_native_streams_are_cumulative(client: httpx.Client) -> None:
    body = {"text": "Count: 1, 2, 3,", "sampling_params": GREEDY, "stream": True}
    events = sse(client.post("/generate", json=body).text)
    texts = [event["text"] for event in events]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))
    assert events[-1]["meta_info"]["finish_reason"]["type"] == "length"
    whole = client.post("/generate", json={**body, "stream": False}).json()
    assert texts[-1] == whole["text"]


def test_openai_streams_join_to_the_whole(client: httpx.Client) -> None:
    body = {
        "model": "default",
        "prompt": "Once upon a time",
        "max_tokens": 24,
        "temperature": 0,
        "stop": [" the"],
    }
    whole = client.post("/v1/completions", json=body).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    events = sse(client.post("/v1/completions", json=body | options).text)
    text = "".join(event["choices"][0]["text"] for event in events[:-1])
    assert text == whole["choices"][0]["text"]
    assert " the" not in text
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_chat_equals_the_rendered_prompt(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Name a colour."}]
    chat = client.post(
        "/v1/chat/completions", json={"messages": messages, "max_tokens": 12, "temperature": 0}
    ).json()
    text = client.post(
        "/render_chat", json={"messages": messages, "add_generation_prompt": True}
    ).json()["text"]
    body = {"text": text, "sampling_params": GREEDY, "add_special_tokens": False}
    native = client.post("/generate", json=body).json()
    assert chat["choices"][0]["message"]["content"] == native["text"]
    assert chat["usage"]["prompt_tokens"] == native["meta_info"]["prompt_tokens"]


def test_chat_continues_a_final_message(client: httpx.Client) -> None:
    body = {
        "messages": [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital is"},
        ],
        "continue_final_message": True,
        "max_tokens": 8,
        "temperature": 0,
    }
    chat = client.post("/v1/chat/completions", json=body).json()
    assert "Paris" in chat["choices"][0]["message"]["content"]


def test_logprobs_in_both_shapes(client: httpx.Client) -> None:
    body: JSON = {"prompt": "2 + 2 =", "max_tokens": 3, "temperature": 0, "logprobs": 2}
    legacy = client.post("/v1/completions", json=body | {"echo": True}).json()["choices"][0]
    assert legacy["text"].startswith("2 + 2 =")
    logprobs = legacy["logprobs"]
    assert logprobs["token_logprobs"][0] is None
    assert "".join(logprobs["tokens"]) == legacy["text"]
    assert max(logprobs["top_logprobs"][-1].values()) == logprobs["token_logprobs"][-1]
    chat_body: JSON = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 3,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    chat = client.post("/v1/chat/completions", json=chat_body).json()["choices"][0]
    content = chat["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == chat["message"]["content"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    events = sse(client.post("/v1/chat/completions", json=chat_body | {"stream": True}).text)
    streamed = [
        entry
        for event in events
        if (found := event["choices"][0].get("logprobs"))
        for entry in found["content"]
    ]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in content]


def test_constraints_are_kept(client: httpx.Client) -> None:
    regex = r"[A-Z][a-z]{2,10} is (good|bad)\."
    body = {"prompt": "Review:", "regex": regex, "max_tokens": 40, "temperature": 1, "seed": 3}
    first = client.post("/v1/completions", json=body).json()["choices"][0]
    assert re.fullmatch(regex, first["text"])
    assert first["finish_reason"] == "stop"
    assert client.post("/v1/completions", json=body).json()["choices"][0]["text"] == first["text"]
    several = client.post("/v1/completions", json=body | {"n": 3}).json()["choices"]
    assert len(several) == 3 and all(re.fullmatch(regex, one["text"]) for one in several)
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    chat = client.post(
        "/v1/chat/completions",
        json={
            "messages": [{"role": "user", "content": "Describe Bob."}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "p", "schema": schema, "strict": True},
            },
            "max_tokens": 60,
            "temperature": 0,
        },
    ).json()
    if chat["choices"][0]["finish_reason"] == "stop":
        value = json.loads(chat["choices"][0]["message"]["content"])
        assert set(value) == {"name", "age"} and isinstance(value["age"], int)
    assert chat["usage"]["completion_tokens_details"]["forced_tokens"] > 0


def test_score_choices_scores_token_ids_over_one_prefix(client: httpx.Client) -> None:
    body = {
        "text": "The capital of France is",
        "choices": [" London", " Paris", " a small village"],
        "unconditional": True,
    }
    choices = client.post("/score_choices", json=body).json()["choices"]
    means = [sum(c["logprobs"]) / len(c["logprobs"]) for c in choices]
    assert means.index(max(means)) == 1
    for choice in choices:
        assert len(choice["token_ids"]) == len(choice["logprobs"])
        assert len(choice["token_ids"]) == len(choice["unconditional_logprobs"])
    single = client.post(
        "/generate",
        json={
            "text": "The capital of France is Paris",
            "sampling_params": {"max_new_tokens": 0},
            "return_logprob": True,
            "logprob_start_len": 5,
        },
    ).json()
    [entry] = single["meta_info"]["input_token_logprobs"]
    assert entry[0] == pytest.approx(choices[1]["logprobs"][0], abs=0.05)


def test_the_models_name_and_the_servers_state(client: httpx.Client) -> None:
    [card] = client.get("/v1/models").json()["data"]
    assert client.get(f"/v1/models/{card['id']}").json()["id"] == card["id"]
    info = client.get("/get_model_info").json()
    assert info["served_model_name"] == card["id"] and info["has_chat_template"]
    state = client.get("/get_server_info").json()
    assert state["max_total_num_tokens"] > 1000
    assert state["internal_states"][0]["num_running_reqs"] == 0
    assert client.get("/health_generate").status_code == 200
    assert client.get("/get_load").json()[0]["num_reqs"] == 0


BAD: list[tuple[str, JSON | bytes, int, str | None]] = [
    ("/v1/completions", {"model": "nope", "prompt": "x"}, 404, "model"),
    ("/v1/completions", {"prompt": "x", "max_tokens": -1}, 400, "max_tokens"),
    ("/v1/completions", {"prompt": "x", "temperature": "hot"}, 400, "temperature"),
    ("/v1/completions", {"prompt": "x", "top_p": 2}, 400, "top_p"),
    ("/v1/completions", {"prompt": ["x", 1]}, 400, "prompt"),
    ("/v1/completions", {"prompt": "x", "n": 0}, 400, "n"),
    ("/v1/completions", {}, 400, "prompt"),
    ("/v1/completions", b"{not json", 400, None),
    ("/v1/completions", {"prompt": "x", "regex": "(a"}, 400, "regex"),
    ("/v1/completions", {"prompt": "x", "regex": "a", "ebnf": "b"}, 400, "ebnf"),
    ("/v1/completions", {"prompt": "x", "guided_json": {}}, 400, "guided_json"),
    ("/v1/completions", {"prompt": "x " * 9000}, 400, "prompt"),
    ("/v1/completions", {"prompt": [10**9]}, 400, "prompt"),
    ("/v1/chat/completions", {"messages": []}, 400, "messages"),
    ("/v1/chat/completions", {"messages": [{"content": "x"}]}, 400, "messages[0].role"),
    ("/generate", {"sampling_params": {}}, 400, "text"),
    ("/generate", {"text": "x", "sampling_params": {"max_new_tokens": -5}}, 400, "max_new_tokens"),
    ("/generate", {"text": "x", "sampling_params": {"typo": 1}}, 400, "typo"),
    ("/generate", {"input_ids": [10**9]}, 400, "input_ids"),
    ("/generate", {"text": "x", "image_data": "y"}, 400, "image_data"),
    ("/nowhere", {}, 404, None),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"), BAD, ids=lambda value: str(value)[:50]
)
def test_bad_input_is_refused_by_name(
    client: httpx.Client, path: str, body: JSON | bytes, status: int, param: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(path, content=content)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["message"]


def test_it_serves_on_after_bad_input(client: httpx.Client) -> None:
    assert client.get("/health_generate").status_code == 200


async def test_a_client_that_leaves_frees_its_slots(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        body = {"prompt": "Tell", "max_tokens": 8000, "stream": True, "ignore_eos": True}
        async with client.stream("POST", "/v1/completions", json=body) as response:
            async for _ in response.aiter_lines():
                break
        whole = asyncio.ensure_future(
            client.post("/v1/completions", json={**body, "stream": False})
        )
        await _until(client, "num_running_reqs", lambda count: count == 1)
        whole.cancel()
        await _until(client, "num_running_reqs", lambda count: count == 0)
        state = await _state(client)
        assert state["num_used_tokens"] == 0
        assert (await client.post("/flush_cache")).status_code == 200
        assert (await _state(client))["num_free_slots"] == state["max_total_num_tokens"]


async def _state(client: httpx.AsyncClient) -> JSON:
    state: JSON = (await client.get("/get_server_info")).json()["internal_states"][0]
    return state


async def _until(client: httpx.AsyncClient, name: str, holds: Any) -> None:
    for _ in range(600):
        if holds((await _state(client))[name]):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is still {(await _state(client))[name]}")


async def test_abort_request_ends_what_it_names(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        body = {
            "text": "Tell",
            "rid": "abort-me-1",
            "sampling_params": {"max_new_tokens": 8000, "ignore_eos": True},
        }
        running = asyncio.ensure_future(client.post("/generate", json=body))
        await _until(client, "num_running_reqs", lambda count: count == 1)
        await client.post("/abort_request", json={"rid": "abort-me"})
        response = await running
        assert response.status_code == 499
        assert "aborted" in response.json()["error"]["message"]


async def _stream_one(client: httpx.AsyncClient, i: int) -> list[JSON]:
    body = {"prompt": f"{i} is", "max_tokens": 16, "stream": True, "ignore_eos": True}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        assert response.status_code == 200
        return [
            json.loads(line[6:])
            async for line in response.aiter_lines()
            if line.startswith("data: ") and line != "data: [DONE]"
        ]


async def test_64_streams_finish_together(server: ServerProcess) -> None:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        streams = await asyncio.gather(*(_stream_one(client, i) for i in range(64)))
    for events in streams:
        assert events[-1]["choices"][0]["finish_reason"] == "length"


async def test_kill_9_of_the_scheduler_fails_its_requests_and_it_comes_back(
    server: ServerProcess,
) -> None:
    async def doomed(client: httpx.AsyncClient, i: int) -> JSON:
        body = {"prompt": f"{i}", "max_tokens": 8000, "stream": True, "ignore_eos": True}
        async with client.stream("POST", "/v1/completions", json=body) as response:
            if response.status_code == 503:  # killed before its first token
                refused: JSON = json.loads(await response.aread())
                return refused
            lines = [line async for line in response.aiter_lines() if line.startswith("data: {")]
        last: JSON = json.loads(lines[-1][6:])
        return last

    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        doom = [asyncio.ensure_future(doomed(client, i)) for i in range(64)]
        await _until(client, "num_running_reqs", lambda count: count == 64)
        os.kill(server.scheduler_pid(), signal.SIGKILL)
        for last in await asyncio.gather(*doom):
            assert last["error"]["type"] == "service_unavailable_error"
            assert "scheduler" in last["error"]["message"]
        assert (await client.get("/health")).status_code == 503
        refused = await client.post("/v1/completions", json={"prompt": "x"})
        assert refused.status_code == 503 and "Retry-After" in refused.headers
    server.wait_healthy(30)
    body = {"prompt": "x", "max_tokens": 2}
    assert httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).status_code == 200


def test_sigterm_lets_a_running_request_finish_and_exits_0() -> None:
    server = ServerProcess("--api-key", "secret")
    headers = {"Authorization": "Bearer secret"}
    url = f"{server.url}/v1/completions"
    assert httpx.post(url, json={"prompt": "x"}).status_code == 401
    body = {"prompt": "x", "max_tokens": 60, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    server.process.wait(30)
    said = server.log.read_text()
    assert server.stop() == 0
    assert "Fatal" not in said and "Traceback" not in said
