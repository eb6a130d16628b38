"""The OpenAI routes with the real model: what must hold whatever it says."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from .server import ServerProcess, running_server
from .test_server import sse

pytestmark = pytest.mark.slow
JSON = dict[str, Any]

WEATHER: JSON = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Rome"]},
        "unit": {"$ref": "#/$defs/Unit"},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {"Unit": {"enum": ["C", "F"]}},
}
TIME: JSON = {
    "type": "object",
    "properties": {"zone": {"type": "integer", "minimum": -12, "maximum": 14}},
    "required": ["zone"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "get_time": TIME}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
ASK: JSON = {
    "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
    "tools": TOOLS,
    "max_tokens": 200,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server("--files-dir", str(tmp_path_factory.mktemp("files"))) as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as made:
        yield made


def post(client: httpx.Client, path: str, body: JSON) -> JSON:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: JSON = response.json()
    return answer


def check(calls: list[JSON]) -> None:
    for call in calls:
        function = call["function"]
        jsonschema.validate(json.loads(function["arguments"]), SCHEMAS[function["name"]])


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_is_always_well_formed(client: httpx.Client, seed: int) -> None:
    body = ASK | {"tool_choice": "required", "parallel_tool_calls": False, "seed": seed}
    [choice] = post(client, "/v1/chat/completions", body)["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert len(choice["message"]["tool_calls"]) == 1
    check(choice["message"]["tool_calls"])


def test_several_calls_in_one_turn(client: httpx.Client) -> None:
    body = ASK | {"tool_choice": "required", "max_tokens": 120, "seed": 1}
    [choice] = post(client, "/v1/chat/completions", body)["choices"]
    calls = choice["message"]["tool_calls"]
    assert calls
    check(calls if choice["finish_reason"] == "tool_calls" else calls[:-1])


def test_a_named_function_is_called_and_its_arguments_stream(client: httpx.Client) -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    body = ASK | {"tool_choice": named, "temperature": 0}
    whole = post(client, "/v1/chat/completions", body)
    [call] = whole["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_time"
    check([call])
    chunks = sse(client.post("/v1/chat/completions", json=body | {"stream": True}).text)
    deltas = [c["choices"][0]["delta"].get("tool_calls", [{}])[0] for c in chunks]
    joined = "".join(delta.get("function", {}).get("arguments", "") for delta in deltas)
    assert joined == call["function"]["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_is_a_call_or_keeps_its_schema(client: httpx.Client, seed: int) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": TIME}}
    body = ASK | {"response_format": wanted, "seed": seed, "parallel_tool_calls": False}
    [choice] = post(client, "/v1/chat/completions", body)["choices"]
    if choice["finish_reason"] == "tool_calls":
        check(choice["message"]["tool_calls"])
    else:
        jsonschema.validate(json.loads(choice["message"]["content"]), TIME)


def test_a_conversation_with_tool_results_goes_on(client: httpx.Client) -> None:
    call = {"name": "get_weather", "arguments": '{"city": "Rome", "unit": "C"}'}
    messages = [
        *ASK["messages"],
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny, 31 degrees"},
    ]
    body = {"messages": messages, "tools": TOOLS, "tool_choice": "none", "temperature": 0}
    answer = post(client, "/v1/chat/completions", body | {"max_tokens": 30})
    assert re.search("sunny|31|Rome", answer["choices"][0]["message"]["content"])


def test_a_schema_that_cannot_be_enforced_is_refused_by_name(client: httpx.Client) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}}}
    for stream in (False, True):
        body = {"messages": ASK["messages"], "response_format": wanted, "stream": stream}
        response = client.post("/v1/chat/completions", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "response_format"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/nowhere"}}}]
    body = {"messages": ASK["messages"], "tools": tools, "tool_choice": "required"}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400 and response.json()["error"]["param"] == "tools"


def test_the_same_seed_gives_the_same_text(client: httpx.Client) -> None:
    body = {"prompt": "Once", "max_tokens": 24, "temperature": 1.2, "seed": 11, "n": 2}
    first, second = (post(client, "/v1/completions", body)["choices"] for _ in range(2))
    assert [c["text"] for c in first] == [c["text"] for c in second]
    assert first[0]["text"] != first[1]["text"]
    other = post(client, "/v1/completions", body | {"seed": 12})["choices"]
    assert other[0]["text"] not in (first[0]["text"], first[1]["text"][:0])


def test_a_bias_forbids_and_forces_tokens(client: httpx.Client) -> None:
    [paris] = post(client, "/tokenize", {"prompt": " Paris", "add_special_tokens": False})["tokens"]
    body = {"prompt": "The capital of France is", "max_tokens": 1, "temperature": 0}
    assert post(client, "/v1/completions", body)["choices"][0]["text"] == " Paris"
    without = post(client, "/v1/completions", body | {"logit_bias": {str(paris): -100}})
    assert without["choices"][0]["text"] != " Paris"
    body = {"prompt": "1 + 1 =", "max_tokens": 2, "logit_bias": {str(paris): 100}}
    assert post(client, "/v1/completions", body)["choices"][0]["text"] == " Paris Paris"


def test_best_of_is_the_likeliest(client: httpx.Client) -> None:
    body = {"prompt": "The sky is", "max_tokens": 5, "seed": 3, "temperature": 1.5, "logprobs": 0}
    several = post(client, "/v1/completions", body | {"n": 4})["choices"]
    best = post(client, "/v1/completions", body | {"best_of": 4})["choices"][0]
    means = [sum(c["logprobs"]["token_logprobs"]) / 5 for c in several]
    assert best["text"] == several[means.index(max(means))]["text"]


def test_structural_tags_constrain_what_they_mark(client: httpx.Client) -> None:
    tag = {
        "type": "structural_tag",
        "structures": [{"begin": "<n>", "schema": {"type": "integer"}, "end": "</n>"}],
        "triggers": ["<n>"],
    }
    body = {
        "messages": [{"role": "user", "content": "Say <n>"}, {"role": "assistant", "content": "<"}],
        "continue_final_message": True,
        "response_format": tag,
        "max_tokens": 40,
        "temperature": 0,
    }
    text = post(client, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
    for inside in re.findall("<n>(.*?)</n>", text):
        assert isinstance(json.loads(inside), int)


def test_embeddings_tell_related_texts_from_others(client: httpx.Client) -> None:
    texts = [
        "How do I bake bread at home?",
        "What is a good recipe for homemade bread?",
        "The stock market fell sharply on Monday.",
    ]
    answer = post(client, "/v1/embeddings", {"input": texts})
    vectors = [entry["embedding"] for entry in answer["data"]]
    assert all(math.isclose(sum(x * x for x in v), 1.0, rel_tol=1e-4) for v in vectors)

    def similarity(a: int, b: int) -> float:
        return float(sum(x * y for x, y in zip(vectors[a], vectors[b], strict=True)))

    assert similarity(0, 1) > max(similarity(0, 2), similarity(1, 2))
    again = post(client, "/v1/embeddings", {"input": texts[0]})["data"][0]["embedding"]
    assert sum(x * y for x, y in zip(again, vectors[0], strict=True)) > 0.999
    for pooling in ("last", "mean"):
        long = post(client, "/v1/embeddings", {"input": "word " * 1500, "pooling": pooling})
        assert long["usage"]["prompt_tokens"] > 1400 and long["pooling"] == pooling
    card = client.get("/v1/models").json()["data"][0]["embedding"]
    assert card == {"pooling": "mean", "dimensions": 576, "trained_for_embedding": False}


def test_responses_stream_what_they_answer_whole(client: httpx.Client) -> None:
    body = {"input": "Name a colour.", "max_output_tokens": 12, "temperature": 0}
    whole = post(client, "/v1/responses", body)
    text = client.post("/v1/responses", json=body | {"stream": True}).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    joined = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert joined == whole["output"][0]["content"][0]["text"]
    more = {"input": "Another.", "previous_response_id": whole["id"]}
    following = post(client, "/v1/responses", body | more)
    assert following["usage"]["input_tokens"] > whole["usage"]["input_tokens"]
    assert following["usage"]["input_tokens_details"]["cached_tokens"] > 10
    wanted = {"type": "json_schema", "name": "n", "schema": TIME, "strict": True}
    held = post(client, "/v1/responses", body | {"text": {"format": wanted}})
    jsonschema.validate(json.loads(held["output"][0]["content"][0]["text"]), TIME)


def test_a_batch_runs_behind_those_who_wait(client: httpx.Client) -> None:
    lines = [
        {
            "custom_id": str(i),
            "method": "POST",
            "url": "/v1/completions",
            "body": {"prompt": f"{i}, {i + 1},", "max_tokens": 8, "temperature": 0},
        }
        for i in range(24)
    ]
    content = "\n".join(map(json.dumps, lines))
    upload = client.post(
        "/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": "batch"}
    ).json()
    body = {"input_file_id": upload["id"], "endpoint": "/v1/completions"}
    batch = post(client, "/v1/batches", body | {"completion_window": "24h"})
    waited = post(client, "/v1/completions", {"prompt": "Hi", "max_tokens": 2})
    assert waited["usage"]["completion_tokens"] == 2
    deadline = time.monotonic() + 60
    while batch["status"] != "completed":
        assert time.monotonic() < deadline, batch
        batch = client.get(f"/v1/batches/{batch['id']}").json()
    answers = client.get(f"/v1/files/{batch['output_file_id']}/content").text.splitlines()
    assert [json.loads(answer)["custom_id"] for answer in answers] == [str(i) for i in range(24)]


def test_reasoning_comes_before_a_constraint(tmp_path: Path) -> None:
    """A template that opens the reasoning, with a model that is led to close it at once."""
    template = tmp_path / "thinks.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n<think>\n{# </think> #}"
    )
    with running_server("--chat-template", str(template)) as server:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            ids = post(client, "/tokenize", {"prompt": "</think>"})["tokens"]
            body = {
                "messages": [{"role": "user", "content": "Pick a zone."}],
                "response_format": {"type": "json_schema", "json_schema": {"schema": TIME}},
                "logit_bias": {str(i): 30 for i in ids},
                "max_tokens": 150,
                "temperature": 0.9,
                "seed": 1,
            }
            answer = post(client, "/v1/chat/completions", body)
            [choice] = answer["choices"]
            assert choice["finish_reason"] == "stop"
            jsonschema.validate(json.loads(choice["message"]["content"]), TIME)
            assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
