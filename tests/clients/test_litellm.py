"""LiteLLM, by its ``openai/`` and ``hosted_vllm/`` routes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),  # the package's own
]

HELLO: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """The package; it takes the thread's event loop, or makes one that it never closes."""
    package = pytest.importorskip("litellm")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield package
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_chats_streams_and_keeps_a_schema(litellm: Any, openai_url: str, provider: str) -> None:
    common = {
        "model": f"{provider}/default",
        "api_base": openai_url,
        "api_key": "sk-test",
        "messages": HELLO,
        "temperature": 0,
    }
    whole = litellm.completion(**common, max_tokens=8)
    chunks = litellm.completion(**common, max_tokens=8, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    held = litellm.completion(**common, max_tokens=60, response_format=wanted)
    assert list(json.loads(held.choices[0].message.content)) == ["ok"]


def test_calls_tools(litellm: Any, openai_url: str) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "flip",
            "parameters": {
                "type": "object",
                "properties": {"on": {"type": "boolean"}},
                "required": ["on"],
                "additionalProperties": False,
            },
        },
    }
    answer = litellm.completion(
        model="openai/default",
        api_base=openai_url,
        api_key="sk-test",
        messages=HELLO,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=99,
    )
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "flip" and "on" in json.loads(call.function.arguments)
