"""Anthropic's Messages API over an echoing scheduler."""

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
HI: JSON = {
    "model": "default",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
}
HI_TEXT = "<user>hi</user><assistant>"


async def ask(client: httpx.AsyncClient, body: JSON) -> JSON:
    response = await client.post("/v1/messages", json=body)
    assert response.status_code == 200, response.text
    answer: JSON = response.json()
    return answer


def named_events(text: str) -> list[JSON]:
    """The data of each event; its name must be its type."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


async def test_an_answer_is_a_message(client: httpx.AsyncClient) -> None:
    answer = await ask(client, HI)
    assert answer.pop("id").startswith("msg_")
    assert answer == {
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": HI_TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": len(HI_TEXT) - 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 1,
            "output_tokens": len(HI_TEXT),
        },
    }


@pytest.mark.parametrize(
    ("field", "reason", "sequence"),
    [
        ({"max_tokens": 3}, "max_tokens", None),
        ({"stop_sequences": ["i<", "zz"]}, "stop_sequence", "i<"),
        (
            {"max_tokens": 1000, "messages": [{"role": "user", "content": "x" * 150}]},
            "model_context_window_exceeded",
            None,
        ),
    ],
)
async def test_why_it_stopped(
    client: httpx.AsyncClient, field: JSON, reason: str, sequence: str | None
) -> None:
    answer = await ask(client, HI | field)
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, sequence)


async def test_events_come_in_anthropics_order(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/messages", json=HI | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    found = named_events(response.text)
    kinds = [event["type"] for event in found]
    deltas = kinds.count("content_block_delta")
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    opening = found[0]["message"]
    assert opening["content"] == [] and opening["stop_reason"] is None
    assert opening["usage"]["output_tokens"] == 0
    assert opening["usage"]["cache_read_input_tokens"] == 1
    assert response.headers["request-id"] == opening["id"]
    pieces = [event["delta"]["text"] for event in found if event["type"] == "content_block_delta"]
    assert len(pieces) > 1 and "".join(pieces) == HI_TEXT
    whole = await ask(client, HI)
    assert found[-2]["usage"] == whole["usage"]
    assert found[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


async def test_every_block_that_is_text_reaches_the_template(
    client: httpx.AsyncClient, side: Side
) -> None:
    note = {"type": "text", "media_type": "text/plain", "data": "42"}
    body = HI | {
        "system": [{"type": "text", "text": "S1", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "document", "source": note, "title": "T"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "b"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "r", "is_error": True},
                    {"type": "text", "text": "c"},
                ],
            },
        ],
    }
    await ask(client, body)
    assert bytes(side.scheduler.requests[-1].input_ids).decode() == (
        "<system>S1</system><user>aT\n42</user>"
        '<assistant>b\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call></assistant>'
        "<user><tool_response>\nError: r\n</tool_response></user><user>c</user><assistant>"
    )


async def test_a_last_message_of_the_assistant_is_continued(client: httpx.AsyncClient) -> None:
    turns = [*HI["messages"], {"role": "assistant", "content": "Well"}]
    [block] = (await ask(client, HI | {"messages": turns}))["content"]
    assert block["text"] == "<user>hi</user><assistant>Well"


async def test_counting_counts_what_answering_reads(client: httpx.AsyncClient) -> None:
    prompt = {name: HI[name] for name in ("model", "messages")}
    response = await client.post("/v1/messages/count_tokens", json=prompt)
    assert response.json() == {"input_tokens": len(HI_TEXT)}


async def test_a_schema_constrains_the_text(client: httpx.AsyncClient, side: Side) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    await ask(client, HI | {"output_config": {"format": wanted}})
    assert side.scheduler.requests[-1].sampling_params.json_schema == '{"type": "object"}'


TOOLS: list[JSON] = [
    {"name": name, "description": name, "input_schema": {"type": "object"}}
    for name in ("add", "now")
]
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def say(text: str, **fields: Any) -> JSON:
    return HI | {"messages": [{"role": "user", "content": text}], **fields}


async def test_a_tool_call_is_a_block_of_its_own() -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, _):
        body = say(f"Ok.{CALL}{CALL}", tools=TOOLS, max_tokens=130)
        whole = await ask(client, body)
        found = named_events((await client.post("/v1/messages", json=body | {"stream": True})).text)
    text, first, second = whole["content"]
    assert text == {"type": "text", "text": "Ok."}
    assert first.pop("id").startswith("toolu_") and second["id"]
    assert first == {"type": "tool_use", "name": "add", "input": {"a": 1}}
    assert whole["stop_reason"] == "tool_use"
    starts = [event for event in found if event["type"] == "content_block_start"]
    assert [event["content_block"]["type"] for event in starts] == ["text", "tool_use", "tool_use"]
    assert [event["index"] for event in starts] == [0, 1, 2]
    assert starts[1]["content_block"]["input"] == {}
    pieces = [event for event in found if event.get("delta", {}).get("type") == "input_json_delta"]
    for index in (1, 2):
        own = [event["delta"]["partial_json"] for event in pieces if event["index"] == index]
        assert json.loads("".join(own)) == {"a": 1}
    assert [event["index"] for event in found if event["type"] == "content_block_stop"] == [0, 1, 2]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


async def test_thinking_is_a_block_before_the_text() -> None:
    async with saying(LAST, reasoning_parser="qwen3") as (client, _):
        body = say("<think>hm, so</think>Yes.")
        whole = await ask(client, body)
        found = named_events((await client.post("/v1/messages", json=body | {"stream": True})).text)
    assert whole["content"] == [
        {"type": "thinking", "thinking": "hm, so", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    kinds = [delta["type"] for delta in deltas]
    assert kinds.index("signature_delta") == kinds.count("thinking_delta") > 0
    thoughts = [delta["thinking"] for delta in deltas if delta["type"] == "thinking_delta"]
    assert "".join(thoughts) == "hm, so"


@pytest.mark.parametrize(
    ("choice", "least", "most", "allowed"),
    [
        ({"type": "any"}, 1, None, 2),
        ({"type": "any", "disable_parallel_tool_use": True}, 1, 1, 2),
        ({"type": "tool", "name": "now"}, 1, 1, 1),
    ],
)
async def test_a_call_that_must_come_is_constrained(
    choice: JSON, least: int, most: int | None, allowed: int
) -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, side):
        await client.post("/v1/messages", json=say("x", tools=TOOLS, tool_choice=choice))
        calls = side.scheduler.requests[-1].sampling_params.tool_calls
    assert calls is not None
    spec = json.loads(calls)
    assert (spec["min"], spec.get("max"), len(spec["calls"])) == (least, most, allowed)


async def test_a_tool_choice_without_its_tool_is_refused(client: httpx.AsyncClient) -> None:
    body = say("x", tools=TOOLS, tool_choice={"type": "tool", "name": "nope"})
    response = await client.post("/v1/messages", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("tool_choice:")


IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
BAD: list[tuple[JSON, int, str, str]] = [
    ({"model": "claude"}, 404, "not_found_error", "model:"),
    ({"max_tokens": -1}, 400, "invalid_request_error", "max_tokens:"),
    ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens:"),
    ({"temperature": 300}, 400, "invalid_request_error", "temperature:"),
    ({"messages": []}, 400, "invalid_request_error", "messages:"),
    (
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        400,
        "invalid_request_error",
        "messages.0.content.0.type:",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "?"}]}]},
        400,
        "invalid_request_error",
        "messages.0.content.0.tool_use_id:",
    ),
    (
        {"tools": [{"type": "bash_1", "name": "bash"}]},
        400,
        "invalid_request_error",
        "tools.0:",
    ),
]


@pytest.mark.parametrize(("field", "status", "kind", "start"), BAD)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_anthropics_shape(
    client: httpx.AsyncClient, field: JSON, status: int, kind: str, start: str, stream: bool
) -> None:
    response = await client.post("/v1/messages", json=HI | field | {"stream": stream})
    assert response.status_code == status
    answer = response.json()
    assert answer["type"] == "error" and answer["error"]["type"] == kind
    assert answer["error"]["message"].startswith(start)


async def test_a_stream_that_dies_says_so_in_an_event(
    client: httpx.AsyncClient, side: Side
) -> None:
    side.scheduler.stall_after = 5
    running = asyncio.ensure_future(client.post("/v1/messages", json=HI | {"stream": True}))
    await side.until_hanging(1)
    for _ in range(20):
        await asyncio.sleep(0)
    side.manager.detach(EngineDeadError("the scheduler died"))
    last = named_events((await running).text)[-1]
    assert last["type"] == "error" and last["error"]["type"] == "overloaded_error"
