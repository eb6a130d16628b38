"""/v1/responses over an echoing scheduler: the answer is the last message."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.errors import EngineDeadError
from sglang_lang.runtime.server.openai.response_body import ResponseBody
from sglang_lang.runtime.server.openai.response_database import ResponseDatabase
from sglang_lang.runtime.server.openai.response_store import ResponseStore
from sglang_lang.runtime.server.openai.stored_response import StoredResponse
from tests.runtime.server.saying import LAST, saying

from .test_chat import CALL

JSON = dict[str, Any]
TOOLS: list[JSON] = [{"type": "function", "name": "add", "parameters": {"type": "object"}}]


async def create(client: httpx.AsyncClient, **body: Any) -> JSON:
    response = await client.post("/v1/responses", json=body)
    assert response.status_code == 200, response.text
    answer: JSON = response.json()
    return answer


async def stream(client: httpx.AsyncClient, **body: Any) -> list[JSON]:
    text = (await client.post("/v1/responses", json=body | {"stream": True})).text
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


async def test_a_response_is_created_and_asked_for_again() -> None:
    async with saying(LAST) as (client, side):
        made = await create(client, input="hello", metadata={"a": "b"}, max_output_tokens=9)
        [item] = made["output"]
        assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
        [part] = item["content"]
        assert (part["type"], part["text"]) == ("output_text", "hello")
        assert (made["status"], made["object"], made["metadata"]) == (
            "completed",
            "response",
            {"a": "b"},
        )
        assert made["usage"]["output_tokens"] == made["usage"]["input_tokens"] == 5
        assert made["usage"]["input_tokens_details"] == {"cached_tokens": 1}
        assert side.scheduler.requests[0].sampling_params.max_new_tokens == 9
        path = f"/v1/responses/{made['id']}"
        assert (await client.get(path)).json() == made
        items = (await client.get(f"{path}/input_items")).json()["data"]
        assert [item["content"] for item in items] == ["hello"]
        assert (await client.delete(path)).json()["deleted"]
        assert (await client.get(path)).status_code == 404
        kept = await create(client, input="x", store=False)
        assert (await client.get(f"/v1/responses/{kept['id']}")).status_code == 404


async def test_a_response_goes_on_with_an_earlier_one() -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    async with saying(template) as (client, _):
        first = await create(client, input="a", instructions="I1")
        second = await create(
            client, input=[{"role": "user", "content": "b"}], previous_response_id=first["id"]
        )
        text = second["output"][0]["content"][0]["text"]
        assert text == "[user]a[assistant][system]I1[user]a[user]b"
        response = await client.post(
            "/v1/responses", json={"input": "c", "previous_response_id": "resp_none"}
        )
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "previous_response_not_found"


async def test_events_tell_of_every_change() -> None:
    async with saying(LAST, reasoning_parser="qwen3", tool_call_parser="hermes") as (client, _):
        said = f"<think>hm</think>ok {CALL}"
        events = await stream(client, input=said, tools=TOOLS)
        kinds = [event["type"] for event in events]
        once = [kind for i, kind in enumerate(kinds) if kinds[i - 1 : i] != [kind]]
        text = ["added", "delta", "done"]
        assert once == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            *(f"response.output_text.{word}" for word in text[1:]),
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            *(f"response.function_call_arguments.{word}" for word in text[1:]),
            "response.output_item.done",
            "response.completed",
        ]
        response = events[-1]["response"]
        reasoning, message, call = response["output"]
        assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
        assert message["content"][0]["text"] == "ok"
        assert (call["name"], call["arguments"], call["status"]) == ("add", '{"a": 1}', "completed")
        assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 17
        joined = "".join(
            event["delta"] for event in events if event["type"] == "response.output_text.delta"
        )
        assert joined == "ok"
        whole = await create(client, input=said, tools=TOOLS)
        assert [item["type"] for item in whole["output"]] == [
            item["type"] for item in response["output"]
        ]


async def test_results_of_calls_come_back_as_messages() -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{# tools #}"
    async with saying(template) as (client, _):
        items = [
            {"role": "user", "content": [{"type": "input_text", "text": "1+1"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
        ]
        made = await create(client, input=items)
        assert made["output"][0]["content"][0]["text"] == "[user]1+1[assistant][tool]2"


async def test_a_cut_off_response_is_incomplete() -> None:
    async with saying(LAST) as (client, _):
        made = await create(client, input="hello", max_output_tokens=2)
        assert made["status"] == "incomplete"
        assert made["incomplete_details"] == {"reason": "max_output_tokens"}
        events = await stream(client, input="hello", max_output_tokens=2)
        assert events[-1]["type"] == "response.incomplete"


async def test_a_background_response_runs_and_can_be_cancelled() -> None:
    async with saying(LAST) as (client, side):
        made = await create(client, input="hello", background=True)
        assert made["status"] == "queued" and made["background"]
        path = f"/v1/responses/{made['id']}"
        while (await client.get(path)).json()["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0)
        assert (await client.get(path)).json()["output"][0]["content"][0]["text"] == "hello"
        hanging = await create(client, input="hang", background=True)
        await side.until_hanging(2)
        path = f"/v1/responses/{hanging['id']}"
        assert (await client.post(f"{path}/cancel")).json()["status"] == "cancelled"
        await asyncio.sleep(0)
        assert side.scheduler.aborted == [hanging["id"]]
        plain = await create(client, input="x")
        refused = await client.post(f"/v1/responses/{plain['id']}/cancel")
        assert refused.status_code == 400


async def test_a_stream_that_fails_says_so_in_its_last_event() -> None:
    async with saying(LAST) as (client, side):
        side.scheduler.stall_after = 2
        running = asyncio.ensure_future(stream(client, input="hello"))
        await side.until_hanging(1)
        for _ in range(50):
            await asyncio.sleep(0)
        side.manager.detach(EngineDeadError("the scheduler died"))
        last = (await running)[-1]
        assert last["type"] == "response.failed"
        assert last["response"]["error"]["code"] == "service_unavailable_error"


BAD: list[tuple[JSON, str]] = [
    ({"input": []}, "input"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
    ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
    (
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}},
        "text.format.schema",
    ),
    ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"input": "x", "max_output_tokens": -1}, "max_output_tokens"),
    ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
    ({"input": "x", "truncation": "auto"}, "truncation"),
    ({"input": "x", "background": True, "store": False}, "background"),
    ({"input": "x", "reasoning": {"effort": "much"}}, "reasoning.effort"),
    ({"input": "x", "model": "gpt-9"}, "model"),
]


@pytest.mark.parametrize(("body", "param"), BAD, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("streams", [False, True])
async def test_a_wrong_field_is_named(
    client: httpx.AsyncClient, body: JSON, param: str, streams: bool
) -> None:
    response = await client.post("/v1/responses", json=body | {"stream": streams})
    assert response.status_code in (400, 404)
    assert response.json()["error"]["param"] == param


def stored(name: str, size: int) -> StoredResponse:
    body = ResponseBody(input="")
    return StoredResponse(name, body, "m", [{"content": "x" * size}], [], status="completed")


def test_the_store_keeps_the_latest_within_its_bounds() -> None:
    store = ResponseStore(max_responses=3, max_bytes=1000)
    for name in "abcd":
        store.add(stored(name, 10))
    store.get("b")  # what is used stays
    store.add(stored("e", 10))
    kept = [name for name in "abcde" if _has(store, name)]
    assert kept == ["b", "d", "e"]
    store.add(stored("f", 970))
    assert [name for name in "bdef" if _has(store, name)] == ["f"]


def _has(store: ResponseStore, name: str) -> bool:
    return name in store._responses


def test_saved_responses_survive_their_server_within_their_bounds(tmp_path: Path) -> None:
    database = ResponseDatabase(tmp_path, max_saved=3)
    store = ResponseStore(database, max_responses=1)
    for name in "abcd":
        store.add(stored(name, 10))
    assert store.get("b").input == [{"content": "x" * 10}]
    store.add(stored("e", 10))
    store.remove("e")
    database.close()
    again = ResponseDatabase(tmp_path)
    assert [name for name in "abcde" if again.get(name)] == ["c", "d"]
    again.close()


def test_a_response_whose_server_ended_has_failed(tmp_path: Path) -> None:
    database = ResponseDatabase(tmp_path)
    running = stored("a", 1)
    running.status = "in_progress"
    database.put(running)
    database.close()
    again = ResponseDatabase(tmp_path)
    found = again.get("a")
    again.close()
    assert found is not None and found.status == "failed" and found.error


def test_a_response_that_cannot_be_saved_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = ResponseDatabase(tmp_path)
    with sqlite3.connect(tmp_path / "responses.sqlite3") as other:
        other.execute("DROP TABLE responses")
    other.close()
    database.put(stored("a", 1))
    database.close()
    assert "no such table" in caplog.text


async def test_a_restarted_server_goes_on_with_a_response(tmp_path: Path) -> None:
    async with saying(LAST, responses_dir=str(tmp_path)) as (client, _):
        first = await create(client, input="hello", text={"format": {"type": "text"}})
    async with saying(LAST, responses_dir=str(tmp_path)) as (client, _):
        kept = (await client.get(f"/v1/responses/{first['id']}")).json()
        assert kept == first
        second = await create(client, input="more", previous_response_id=first["id"])
        assert second["previous_response_id"] == first["id"]
        await client.delete(f"/v1/responses/{first['id']}")
        assert (await client.get(f"/v1/responses/{first['id']}")).status_code == 404
