"""/v1/chat/completions over an echoing scheduler: the answer is the rendered prompt."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.runtime.server.saying import LAST, saying
from tests.runtime.server.sse import events
from tests.runtime.text.echo import Side

JSON = dict[str, Any]
CHAT: JSON = {"messages": [{"role": "user", "content": "hi"}]}
CHAT_TEXT = "<user>hi</user><assistant>"


async def test_a_chat_streams_its_role_first_and_its_reason_last(client: httpx.AsyncClient) -> None:
    chunks = events((await client.post("/v1/chat/completions", json=CHAT | {"stream": True})).text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == CHAT_TEXT
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_a_chat_without_a_limit_may_fill_the_context(
    client: httpx.AsyncClient, side: Side
) -> None:
    await client.post("/v1/chat/completions", json=CHAT)
    request = side.scheduler.requests[0]
    assert len(request.input_ids) + request.sampling_params.max_new_tokens == 256
    await client.post("/v1/chat/completions", json=CHAT | {"max_completion_tokens": 3})
    assert side.scheduler.requests[1].sampling_params.max_new_tokens == 3


TOOLS: list[JSON] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("add", "now")
]
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def say(text: str, **fields: Any) -> JSON:
    return {"messages": [{"role": "user", "content": text}], **fields}


async def whole(client: httpx.AsyncClient, body: JSON) -> JSON:
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    answer: JSON = response.json()
    return answer


async def streamed(client: httpx.AsyncClient, body: JSON) -> tuple[JSON, str]:
    """The deltas of a stream put together, and its finish reason."""
    response = await client.post("/v1/chat/completions", json=body | {"stream": True})
    message: JSON = {"content": "", "reasoning_content": "", "tool_calls": []}
    reason = ""
    for chunk in events(response.text):
        [choice] = chunk["choices"]
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name, "")
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(message["tool_calls"]) and call["type"] == "function"
                message["tool_calls"].append(call["function"])
            else:
                function = message["tool_calls"][call["index"]]
                function["arguments"] += call["function"]["arguments"]
        reason = choice["finish_reason"] or reason
    return message, reason


async def test_tool_calls_are_told_apart_whole_and_streamed() -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, _):
        body = say(f"I add.{CALL}", tools=TOOLS)
        [choice] = (await whole(client, body))["choices"]
        message = choice["message"]
        assert (message["content"], choice["finish_reason"]) == ("I add.", "tool_calls")
        [call] = message["tool_calls"]
        assert call["type"] == "function" and call["id"].startswith("call_")
        assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}
        joined, reason = await streamed(client, body)
        assert joined["tool_calls"] == [call["function"]]
        assert (joined["content"], reason) == ("I add.", "tool_calls")


async def test_without_tools_or_with_none_a_call_is_text() -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, _):
        for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
            [choice] = (await whole(client, say(CALL, **fields)))["choices"]
            assert choice["message"]["content"] == CALL
            assert choice["finish_reason"] == "stop"


async def test_one_call_only_ends_with_the_first() -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, side):
        body = say(CALL + CALL, tools=TOOLS, parallel_tool_calls=False)
        [choice] = (await whole(client, body))["choices"]
        assert len(choice["message"]["tool_calls"]) == 1
        assert side.scheduler.requests[0].sampling_params.stop == ["</tool_call>"]


FORCED: list[tuple[JSON, int | None, list[str]]] = [
    ({"tool_choice": "required"}, None, ["add", "now"]),
    ({"tool_choice": "required", "parallel_tool_calls": False}, 1, ["add", "now"]),
    ({"tool_choice": {"type": "function", "function": {"name": "now"}}}, 1, ["now"]),
    (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [TOOLS[1]]},
            }
        },
        None,
        ["now"],
    ),
]


@pytest.mark.parametrize(("fields", "most", "names"), FORCED)
async def test_calls_that_must_come_are_a_constraint(
    fields: JSON, most: int | None, names: list[str]
) -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, side):
        await whole(client, say(CALL, tools=TOOLS, **fields))
        value = json.loads(side.scheduler.requests[0].sampling_params.tool_calls or "")
        assert (value["min"], value["max"], value["begin"]) == (1, most, "<tool_call>\n")
        assert [call["properties"]["name"]["const"] for call in value["calls"]] == names


async def test_strict_tools_are_held_to_their_schema_once_begun() -> None:
    strict = {"type": "function", "function": {**TOOLS[0]["function"], "strict": True}}
    async with saying(LAST, tool_call_parser="hermes") as (client, side):
        await whole(client, say("hi", tools=[strict]))
        tag = json.loads(side.scheduler.requests[0].sampling_params.structural_tag or "")
        assert tag["triggers"] == ["<tool_call>"]
    async with saying(LAST, tool_call_parser="llama3") as (client, _):
        assert "strict" in (await whole(client, say("hi", tools=[strict])))["warnings"][0]


async def test_tools_that_may_be_called_leave_the_answer_to_its_schema() -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}}
    async with saying(LAST, tool_call_parser="hermes") as (client, side):
        body = say(CALL, tools=TOOLS, response_format=schema)
        [choice] = (await whole(client, body))["choices"]
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "add"
        params = side.scheduler.requests[0].sampling_params
        assert params.json_schema is None and '"type": "integer"' in (params.ebnf or "")
        response = await client.post("/v1/chat/completions", json=say("x", tools=TOOLS, regex="a+"))
        assert response.json()["error"]["param"] == "tool_choice"


async def test_reasoning_is_told_apart_and_counted() -> None:
    async with saying(LAST, reasoning_parser="qwen3") as (client, _):
        body = say("<think>Hm.</think>Yes.")
        answer = await whole(client, body)
        message = answer["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")
        details = answer["usage"]["completion_tokens_details"]
        assert details["reasoning_tokens"] == len("<think>Hm.</think>")
        joined, _ = await streamed(client, body)
        assert (joined["reasoning_content"], joined["content"]) == ("Hm.", "Yes.")
        together = await whole(client, body | {"separate_reasoning": False})
        assert together["choices"][0]["message"]["content"] == "<think>Hm.</think>Yes."


async def test_a_constraint_begins_behind_the_reasoning() -> None:
    schema = {"response_format": {"type": "json_object"}}
    async with saying(LAST, reasoning_parser="qwen3") as (client, side):
        await whole(client, say("a</think>b", **schema))
        await whole(client, say("<think>\n</think>", **schema))
        await whole(client, say("x"))
        ends = [r.sampling_params.reasoning_end for r in side.scheduler.requests]
        assert ends == ["</think>", None, None]


async def test_an_effort_reaches_the_template_in_its_own_words() -> None:
    template = "{{ reasoning_effort }} {{ enable_thinking }} {{ x }}"
    async with saying(template) as (client, _):
        body = say("", reasoning_effort="none", chat_template_kwargs={"x": 1})
        assert (await whole(client, body))["choices"][0]["message"]["content"] == "none False 1"


async def test_a_template_without_tools_is_told_of_them_in_text(side: Side) -> None:
    async with saying("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}") as (
        client,
        _,
    ):
        messages = [
            {"role": "user", "content": "1+1?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": "2"},
        ]
        [choice] = (await whole(client, {"messages": messages}))["choices"]
        assert choice["message"]["content"] == (
            '[user]1+1?[assistant]<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>'
            "[user]<tool_response>\n2\n</tool_response>"
        )


async def test_token_ids_may_stand_for_the_rendered_messages() -> None:
    async with saying(LAST, tool_call_parser="hermes") as (client, side):
        body = say("not this", input_ids=list(CALL.encode()), tools=TOOLS)
        [choice] = (await whole(client, body))["choices"]
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "add"
        assert side.scheduler.requests[0].input_ids == body["input_ids"]
        joined, _ = await streamed(client, body)
        assert joined["tool_calls"] == [choice["message"]["tool_calls"][0]["function"]]


async def test_a_choice_may_tell_its_meta_info_and_prompt(client: httpx.AsyncClient) -> None:
    body = CHAT | {"return_meta_info": True, "return_prompt_token_ids": True, "logprobs": True}
    [choice] = (await whole(client, body | {"max_tokens": 2}))["choices"]
    assert bytes(choice["prompt_token_ids"]).decode() == CHAT_TEXT
    meta = choice["meta_info"]
    assert meta["finish_reason"] == {"type": "length", "length": 2}
    assert meta["output_token_logprobs"] == [[-60.0, 60, "<"], [-117.0, 117, "u"]]
    assert (meta["reasoning_tokens"], meta["dp_rank"], meta["weight_version"]) == (0, 0, "default")


@pytest.mark.parametrize(
    ("path", "body"), [("chat/completions", CHAT), ("completions", {"prompt": "hi"})]
)
async def test_what_was_cached_is_told_by_place(
    client: httpx.AsyncClient, path: str, body: JSON
) -> None:
    asked = body | {"return_cached_tokens_details": True}
    answer = (await client.post(f"/v1/{path}", json=asked)).json()
    assert answer["sglext"] == {"cached_tokens_details": {"device": 1, "host": 0}}
    assert "sglext" not in (await client.post(f"/v1/{path}", json=body)).json()
    streamed = await client.post(f"/v1/{path}", json=asked | {"stream": True})
    assert "needs stream: false" in streamed.text


BAD: list[tuple[JSON, str]] = [
    ({"return_routed_experts": True}, "return_routed_experts"),
    ({"input_ids": [1, 999]}, "input_ids"),
    ({"input_ids": []}, "input_ids"),
    ({"input_ids": [1] * 300}, "input_ids"),
    ({"return_meta_info": True, "stream": True}, "return_meta_info"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": TOOLS * 2}, "tools"),
    ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "rm"}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": "required", "regex": "a"}, "tool_choice"),
    ({"reasoning_effort": "much"}, "reasoning_effort"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"functions": [{}]}, "functions"),
    ({"lora_path": "x"}, "lora_path"),
    ({"new_grammar": "x"}, "new_grammar"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_object"}, "regex": "a"}, "response_format"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0]",
    ),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"min_tokens": -1}, "min_tokens"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: str(value)[:50])
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, fields: JSON, param: str) -> None:
    response = await client.post("/v1/chat/completions", json=CHAT | fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"
