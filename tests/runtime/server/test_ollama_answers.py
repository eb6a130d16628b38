"""Ollama's API over an echoing scheduler."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.errors import EngineDeadError
from tests.runtime.server.saying import LAST, saying
from tests.runtime.text.echo import Side

JSON = dict[str, Any]
CHAT: JSON = {"model": "echo:latest", "messages": [{"role": "user", "content": "hi"}]}
CHAT_TEXT = "<user>hi</user><assistant>"
GENERATE: JSON = {"model": "echo", "prompt": "hi"}


def lines_of(response: httpx.Response) -> list[JSON]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_chat_streams_lines_that_join_to_the_whole(client: httpx.AsyncClient) -> None:
    lines = lines_of(await client.post("/api/chat", json=CHAT))
    whole = (await client.post("/api/chat", json=CHAT | {"stream": False})).json()
    assert whole["message"] == {"role": "assistant", "content": CHAT_TEXT}
    assert len(lines) > 2
    assert "".join(line["message"]["content"] for line in lines) == CHAT_TEXT
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    for last in (lines[-1], whole):
        assert last["model"] == "echo:latest" and last["done_reason"] == "stop"
        assert last["prompt_eval_count"] == last["eval_count"] == len(CHAT_TEXT)
        durations = last["prompt_eval_duration"] + last["eval_duration"]
        assert 0 < durations <= last["total_duration"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({}, CHAT_TEXT),
        ({"system": "S"}, f"<system>S</system>{CHAT_TEXT}"),
        ({"raw": True}, "hi"),
        ({"context": [97, 98]}, f"ab{CHAT_TEXT}"),
    ],
)
async def test_generate_uses_the_template_unless_told_not_to(
    client: httpx.AsyncClient, field: JSON, text: str
) -> None:
    lines = lines_of(await client.post("/api/generate", json=GENERATE | field))
    assert "".join(line["response"] for line in lines) == text
    if not field.get("raw"):
        assert bytes(lines[-1]["context"]).decode() == text + text


async def test_options_become_sampling_parameters(client: httpx.AsyncClient, side: Side) -> None:
    options = {"num_predict": 3, "temperature": 0.5, "top_k": 7, "seed": 1, "repeat_penalty": 1.5}
    given = options | {"stop": ["q"], "num_ctx": 4096, "mirostat": 0, "mirostat_tau": 5.0}
    body = CHAT | {"options": given, "stream": False, "format": "json"}
    answer = (await client.post("/api/chat", json=body)).json()
    assert answer["done_reason"] == "length" and answer["eval_count"] == 3
    params = side.scheduler.requests[-1].sampling_params
    assert (params.temperature, params.top_k, params.seed) == (0.5, 7, 1)
    assert (params.repetition_penalty, params.stop) == (1.5, ["q"])
    assert params.json_schema == '{"type": "object"}'


async def test_logprobs_come_once_each(client: httpx.AsyncClient) -> None:
    body = GENERATE | {"raw": True, "logprobs": True, "top_logprobs": 1}
    lines = lines_of(await client.post("/api/generate", json=body))
    entries = [entry for line in lines for entry in line["logprobs"]]
    assert [(e["token"], e["logprob"]) for e in entries] == [("h", -104.0), ("i", -105.0)]
    assert entries[0]["top_logprobs"] == [{"token": "h", "logprob": -104.0, "bytes": [104]}]


async def test_tool_calls_come_whole_with_their_arguments_as_an_object() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    body = {"model": "echo", "messages": [{"role": "user", "content": f"So:{call}"}]}
    async with saying(LAST, tool_call_parser="hermes") as (client, _):
        lines = lines_of(await client.post("/api/chat", json=body | {"tools": tools}))
    assert "".join(line["message"]["content"] for line in lines) == "So:"
    calls = [found for line in lines for found in line["message"].get("tool_calls", ())]
    assert calls == [{"function": {"name": "add", "arguments": {"a": 1}}}]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_thinking_is_told_apart(path: str) -> None:
    said = "<think>hm, so</think>Yes."
    body: JSON = {"model": "echo", "prompt": said, "messages": [{"role": "user", "content": said}]}
    async with saying(LAST, reasoning_parser="qwen3") as (client, _):
        lines = lines_of(await client.post(path, json=body))
        shown = (await client.post("/api/show", json={"model": "echo"})).json()
    parts = [line.get("message", line) for line in lines]
    assert "".join(part.get("thinking", "") for part in parts) == "hm, so"
    assert "".join(part.get("content", part.get("response")) for part in parts) == "Yes."
    assert "thinking" in shown["capabilities"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_asking_for_nothing_is_loading(client: httpx.AsyncClient, path: str) -> None:
    answer = (await client.post(path, json={"model": "echo"})).json()
    assert answer["done"] and answer["done_reason"] == "load"


BAD: list[tuple[JSON, int, str]] = [
    ({"model": "llama3"}, 404, "model:"),
    ({"model": ""}, 400, "model:"),
    ({"options": {"mirostat": 2}}, 400, "options.mirostat:"),
    ({"options": {"num_predict": "x"}}, 400, "options.num_predict:"),
    ({"options": {"typo": 2}}, 400, "options.typo:"),
    ({"format": "yaml"}, 400, "format:"),
    ({"messages": [{"role": "user", "images": ["aGk="]}]}, 400, "messages.images:"),
]


@pytest.mark.parametrize(("field", "status", "start"), BAD)
async def test_errors_are_one_string(
    client: httpx.AsyncClient, field: JSON, status: int, start: str
) -> None:
    response = await client.post("/api/chat", json=CHAT | field)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert response.json()["error"].startswith(start)


async def test_a_stream_that_dies_says_so_in_a_line(client: httpx.AsyncClient, side: Side) -> None:
    side.scheduler.stall_after = 3
    running = asyncio.ensure_future(client.post("/api/chat", json=CHAT))
    await side.until_hanging(1)
    for _ in range(20):
        await asyncio.sleep(0)
    side.manager.detach(EngineDeadError("the scheduler died"))
    assert lines_of(await running)[-1] == {"error": "the scheduler died"}


async def test_what_there_is(client: httpx.AsyncClient) -> None:
    [card] = (await client.get("/api/tags")).json()["models"]
    assert card["model"] == "echo" and card["details"]["family"] == "llama"
    [running] = (await client.get("/api/ps")).json()["models"]
    assert running["context_length"] == 256
    shown = (await client.post("/api/show", json={"model": "echo"})).json()
    assert shown["model_info"]["llama.context_length"] == 256
    assert "assistant" in shown["template"] and shown["capabilities"] == ["completion", "tools"]
    assert (await client.get("/api/version")).json()["version"]
