"""Constraints on the real model: forced text changes no answer, hostile ones disturb no one."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.engine import Engine

from .server import ServerProcess, running_server

pytestmark = pytest.mark.slow

RECORD = r'\{"name": "[A-Z][a-z]{1,12}", "age": [1-9][0-9]?, "city": "[A-Z][a-z]{2,12}"\}'
SHOTS = "".join(
    f'{{"name": "{name}", "age": {age}, "city": "{city}"}}\n'
    for name, age, city in (
        ("Alice", 31, "Paris"),
        ("Bruno", 64, "Lisbon"),
        ("Carla", 25, "Vienna"),
    )
)
PEOPLE = [("Dan", "Oslo"), ("Eva", "Bern"), ("Finn", "Rome"), ("Gina", "Cairo"), ("Hugo", "Delhi")]
PEOPLE += [("Ida", "Tokyo"), ("Jan", "Berlin"), ("Kim", "Seoul"), ("Liam", "Dublin")]
SECONDS = 20.0  # for an answer to hostile input: it takes 3, alone on a machine


def records(disable_jump_forward: bool) -> tuple[list[dict[str, Any]], list[bool]]:
    """Greedy outputs, and whether each is spelled as the tokenizer spells its text."""
    prompts = [
        SHOTS + f'{{"name": "{name}", "age": {20 + 5 * i}, "city": "{city}"}}\n'
        for i, (name, city) in enumerate(PEOPLE)
    ]
    params = {"temperature": 0.0, "max_new_tokens": 60, "regex": RECORD}
    with Engine(
        disable_jump_forward=disable_jump_forward, dtype="float32", log_level="error"
    ) as engine:
        outputs = engine.generate(prompts, params)
        encode = engine.get_tokenizer().encode_continuation
        return outputs, [encode(output["text"]) == output["output_ids"] for output in outputs]


def test_forced_text_leaves_greedy_answers_as_they_are() -> None:
    """Wherever decoding alone spells canonically; else it was led on by other tokens."""
    plain, canonical = records(disable_jump_forward=True)
    jumped, _ = records(disable_jump_forward=False)
    assert sum(canonical) >= len(PEOPLE) - 1
    for without, with_jumps, comparable in zip(plain, jumped, canonical, strict=True):
        assert re.fullmatch(RECORD, with_jumps["text"]) and re.fullmatch(RECORD, without["text"])
        assert with_jumps["meta_info"]["forced_tokens"] > 8
        if comparable:
            assert with_jumps["output_ids"] == without["output_ids"]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server() as started:
        yield started


def nested(keyword: str, depth: int) -> str:
    return f'{{"{keyword}":[' * depth + "{}" + "]}" * depth


REFUSED: dict[str, dict[str, Any]] = {
    "a long pattern": {"regex": "a" * 70_000},
    "deep groups": {"regex": "(" * 10_000 + ")" * 10_000},
    "a NUL": {"regex": "a\0b"},
    "a lone surrogate": {"regex": "\ud800"},
    "10 MB": {"json_schema": json.dumps({"description": "x" * 10_000_000})},
    "10,000 levels": {"json_schema": '{"not":' * 10_000 + "{}" + "}" * 10_000},
    "a reference to itself": {"json_schema": '{"$ref": "#"}'},
    "references in a circle": {
        "json_schema": '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, '
        '"b": {"$ref": "#/$defs/a"}}}'
    },
    "a reference to elsewhere": {"json_schema": '{"$ref": "http://127.0.0.1:1/x"}'},
    "a negated circle": {"json_schema": '{"not": {"$ref": "#"}}'},
    "a surrogate in a schema": {"json_schema": '{"const": "\\ud800"}'},
    "too many properties": {"json_schema": '{"type": "object", "minProperties": 1000000}'},
    "an endless grammar": {"ebnf": "root ::= " + "(" * 5000},
    "a tag of nothing": {"structural_tag": "{}"},
    "calls of nothing": {"tool_calls": "{}"},
    "a pattern to stop at": {"stop_regex": [r"(a)\1"]},
    "two constraints": {"regex": "a", "ebnf": 'root ::= "a"'},
}
HARD: dict[str, dict[str, Any]] = {  # large languages that cost little
    "(a|a)*b": {"regex": "(a|a)*b"},
    "(a*)*b": {"regex": "((a*)*)*b"},
    "stars in stars": {"regex": "(" * 30 + "a|a" + ")*" * 30 + "b"},
    "a wide window": {"regex": "(a|b)*a(a|b){200}"},
    "100,000 characters": {"regex": ".{0,100000}"},
    "repeats that multiply": {"json_schema": {"pattern": "(.{0,1000}){0,1000}(.{0,999}){0,999}x"}},
    "a grammar without end": {"ebnf": 'root ::= root root | "" '},
    "deep branches": {"json_schema": nested("anyOf", 100)},
}


def body(constraint: dict[str, Any]) -> bytes:
    params = {"max_new_tokens": 8, "temperature": 0, **constraint}
    return json.dumps({"text": "x", "sampling_params": params}).encode()


async def test_hostile_constraints_are_answered_while_another_request_streams_on(
    server: ServerProcess,
) -> None:
    """Each gets its 400, or its answer if it only looks hard; the stream never waits for them."""
    gaps: list[float] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        streaming = asyncio.create_task(stream_until_cancelled(client, gaps))
        for name, constraint in (*REFUSED.items(), *HARD.items()):
            before, began = len(gaps), time.monotonic()
            response = await client.post("/generate", content=body(constraint))
            assert time.monotonic() - began < SECONDS, name
            assert response.status_code == (400 if name in REFUSED else 200), (name, response.text)
            while len(gaps) == before:  # it goes on
                assert not streaming.done(), name
                await asyncio.sleep(0.01)
        streaming.cancel()
    assert max(gaps) < SECONDS
    assert server.is_healthy()


async def stream_until_cancelled(client: httpx.AsyncClient, gaps: list[float]) -> None:
    """Reads one long answer after another, and notes the seconds between their pieces."""
    params = {"max_new_tokens": 1000, "ignore_eos": True, "temperature": 0}
    request = {"text": "Once upon a time", "sampling_params": params, "stream": True}
    while True:
        async with client.stream("POST", "/generate", json=request) as response:
            last = time.monotonic()
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()
