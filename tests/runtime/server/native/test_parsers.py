"""Tool calls and reasoning in texts that are already there."""

from __future__ import annotations

import json

import httpx
import pytest

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
HERMES = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("qwen25", f"Well.{HERMES}"),
        ("hermes", f"Well.{HERMES}"),
        ("mistral", 'Well.[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}]'),
    ],
)
async def test_calls_are_found_in_every_format(
    client: httpx.AsyncClient, parser: str, text: str
) -> None:
    body = {"text": text, "tools": TOOLS, "tool_call_parser": parser}
    found = (await client.post("/parse_function_call", json=body)).json()
    assert found["normal_text"].strip() == "Well."
    [call] = found["calls"]
    assert (call["tool_index"], call["name"]) == (0, "add")
    assert json.loads(call["parameters"]) == {"a": 1}


@pytest.mark.parametrize(
    ("parser", "text"),
    [("qwen3", "<think>hm</think>Yes."), ("deepseek-r1", "hm</think>Yes.")],
)
async def test_reasoning_is_separated(client: httpx.AsyncClient, parser: str, text: str) -> None:
    body = {"text": text, "reasoning_parser": parser}
    found = (await client.post("/separate_reasoning", json=body)).json()
    assert found == {"reasoning_text": "hm", "text": "Yes."}


@pytest.mark.parametrize(
    ("path", "field"),
    [("/parse_function_call", "tool_call_parser"), ("/separate_reasoning", "reasoning_parser")],
)
async def test_an_unknown_format_is_refused(
    client: httpx.AsyncClient, path: str, field: str
) -> None:
    response = await client.post(path, json={"text": "x", "tools": TOOLS, field: "nope"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
    assert "qwen3" in response.text or "hermes" in response.text
