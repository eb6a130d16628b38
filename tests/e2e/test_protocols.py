"""The Anthropic, Ollama and SGLang protocols on the real server with the real model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.runtime.server.sse import events

from .server import ServerProcess, running_server

pytestmark = pytest.mark.slow
JSON = dict[str, Any]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: JSON = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
GREEDY: JSON = {"temperature": 0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--cpu-threads", "2") as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


def ask(client: httpx.Client, path: str, body: JSON) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def named_events(text: str) -> list[JSON]:
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [json.loads(data.removeprefix("data: ")) for _, data in blocks]


# ------------------------------------------------------------------------------- Anthropic


def test_all_protocols_say_the_same(client: httpx.Client) -> None:
    body = {"model": "default", "messages": QUESTION, "max_tokens": 16, "temperature": 0}
    said = ask(client, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
    assert "Paris" in said
    message = ask(client, "/v1/messages", body)
    assert message["content"] == [{"type": "text", "text": said}]
    found = named_events(client.post("/v1/messages", json=body | {"stream": True}).text)
    pieces = [event["delta"]["text"] for event in found if event["type"] == "content_block_delta"]
    assert "".join(pieces) == said
    ollama = {"model": "default", "messages": QUESTION, "stream": False}
    ollama["options"] = {"num_predict": 16, "temperature": 0}
    assert ask(client, "/api/chat", ollama)["message"]["content"] == said


def test_an_anthropic_prompt_is_counted_and_then_read_from_the_cache(client: httpx.Client) -> None:
    story = "Once upon a time a fox met a crow that had found a piece of cheese. " * 8
    prompt = {"model": "default", "messages": [{"role": "user", "content": story}]}
    count = ask(client, "/v1/messages/count_tokens", prompt)["input_tokens"]
    for is_first in (True, False):
        usage = ask(client, "/v1/messages", prompt | {"max_tokens": 2})["usage"]
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == count
        assert (usage["cache_read_input_tokens"] > 100) is not is_first


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is_called_well(client: httpx.Client, stream: bool) -> None:
    body: JSON = {
        "model": "default",
        "max_tokens": 80,
        "temperature": 0,
        "messages": [{"role": "user", "content": "How is the weather in Rome?"}],
        "tools": [{"name": "get_weather", "input_schema": WEATHER}],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    }
    if stream:
        found = named_events(client.post("/v1/messages", json=body | {"stream": True}).text)
        start = next(event for event in found if event["type"] == "content_block_start")
        block = start["content_block"]
        deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
        block["input"] = json.loads("".join(delta["partial_json"] for delta in deltas))
        assert found[-2]["delta"]["stop_reason"] == "tool_use"
    else:
        message = ask(client, "/v1/messages", body)
        [block] = message["content"]
        assert message["stop_reason"] == "tool_use"
    assert (block["type"], block["name"]) == ("tool_use", "get_weather")
    assert list(block["input"]) == ["city"]
    used = {"type": "tool_use", "id": block["id"], "name": "get_weather", "input": block["input"]}
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "Sunny, 31 degrees."}
    turns = [
        *body["messages"],
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [result]},
    ]
    answer = ask(
        client, "/v1/messages", body | {"messages": turns, "tool_choice": {"type": "none"}}
    )
    assert answer["stop_reason"] in ("end_turn", "max_tokens")
    assert [part["type"] for part in answer["content"]] == ["text"]


# ------------------------------------------------------------------------------- Ollama


def test_ollama_answers_in_the_schema_that_is_asked_for(client: httpx.Client) -> None:
    body = {"model": "default", "prompt": "Paris is a city.", "format": WEATHER, "stream": False}
    body["options"] = {"num_predict": 60, "temperature": 0}
    answer = ask(client, "/api/generate", body)
    assert answer["done_reason"] == "stop"
    assert list(json.loads(answer["response"])) == ["city"]
    longer = body | {"prompt": "Which?", "context": answer["context"]}
    assert ask(client, "/api/generate", longer)["prompt_eval_count"] > len(answer["context"])


# ------------------------------------------------------------------------------- SGLang


def test_incremental_streams_join_to_the_whole_even_when_text_is_forced(
    client: httpx.Client,
) -> None:
    schema = json.dumps(WEATHER | {"required": ["city"]})
    params = {"temperature": 0, "max_new_tokens": 40, "json_schema": schema}
    body: JSON = {"text": "JSON about Rome:", "sampling_params": params}
    whole = ask(client, "/generate", body)
    fields = {"stream": True, "incremental_streaming_output": True}
    found = events(client.post("/generate", json=body | fields).text)
    assert "".join(event["text"] for event in found) == whole["text"]
    ids: list[int] = []
    for event in found:
        withdrawn = event["meta_info"].get("withdrawn_ids", 0)
        ids = ids[: len(ids) - withdrawn] + event["output_ids"]
    assert ids == whole["output_ids"]
    assert whole["meta_info"]["forced_tokens"] > 0


def test_a_stop_regex_ends_the_text(client: httpx.Client) -> None:
    params = {"temperature": 0, "max_new_tokens": 40, "stop_regex": "P[a-z]{3}s"}
    body = {"text": "The capital of France is", "sampling_params": params}
    answer = ask(client, "/generate", body)
    assert answer["meta_info"]["finish_reason"]["type"] == "stop"
    assert answer["meta_info"]["completion_tokens"] == 1


def test_logprobs_of_asked_for_tokens(client: httpx.Client) -> None:
    body = {
        "text": ["The capital of France is", "Two and two is"],
        "sampling_params": GREEDY | {"max_new_tokens": 1},
        "return_logprob": True,
        "logprob_start_len": [0, -1],
        "top_logprobs_num": [2, 1],
        "token_ids_logprob": [[5, 6], [7]],
        "return_text_in_logprobs": True,
    }
    first, second = (one["meta_info"] for one in ask(client, "/generate", body))
    assert first["input_token_logprobs"][0][0] is None
    assert first["output_token_logprobs"][0][2] == " Paris"
    assert first["output_top_logprobs"][0][0] == first["output_token_logprobs"][0]
    assert [entry[1] for entry in first["output_token_ids_logprobs"][0]] == [5, 6]
    assert [entry[1] for entry in second["output_token_ids_logprobs"][0]] == [7]
    assert "input_token_logprobs" not in second or not second["input_token_logprobs"]


def test_scores_are_the_logprobs_of_the_labels(client: httpx.Client) -> None:
    labels = [
        ask(client, "/tokenize", {"prompt": text})["tokens"][0] for text in (" Paris", " Rome")
    ]
    body = {"query": "The capital of France is", "items": ["", " now"], "label_token_ids": labels}
    plain = ask(client, "/v1/score", body | {"return_token_logprobs": True})
    assert plain["object"] == "scoring" and len(plain["scores"]) == 2
    paris, rome = plain["scores"][0]
    assert paris > rome > 0
    native = {"text": body["query"], "sampling_params": GREEDY, "return_logprob": True}
    native["token_ids_logprob"] = labels
    entries = ask(client, "/generate", native)["meta_info"]["output_token_ids_logprobs"][0]
    assert math.log(paris) == pytest.approx(entries[0][0], abs=0.05)
    shares = ask(client, "/v1/score", body | {"apply_softmax": True})["scores"]
    assert all(sum(row) == pytest.approx(1) for row in shares)
    ids = [ask(client, "/tokenize", {"prompt": text})["tokens"] for text in (body["query"], " now")]
    by_ids = ask(client, "/v1/score", body | {"query": ids[0], "items": [ids[1]]})
    assert by_ids["scores"][0] == pytest.approx(plain["scores"][1], rel=0.1)


def test_documents_are_ranked_and_share_the_query(client: httpx.Client) -> None:
    documents = ["Bananas are yellow.", "Paris is the capital of France.", "Cats sleep a lot."]
    query = "Name the capital of France, its river, and what else there is to know of it. " * 3
    body = {"query": query, "documents": documents, "top_n": 2}
    ranked = ask(client, "/v1/rerank", body)
    assert len(ranked) == 2
    assert ranked[0]["score"] >= ranked[1]["score"]
    assert all(documents[one["index"]] == one["document"] for one in ranked)
    assert all(0 <= one["score"] <= 1 for one in ranked)
    # One of the three was computed first; the others have its prefix.
    assert max(one["meta_info"]["cached_tokens"] for one in ranked) > 30


def test_encode_and_embeddings_give_the_same_vectors(client: httpx.Client) -> None:
    texts = ["a red apple", "a green pear"]
    native = ask(client, "/encode", {"text": texts})
    openai = ask(client, "/v1/embeddings", {"input": texts})["data"]
    for one, other in zip(native, openai, strict=True):
        assert one["embedding"] == pytest.approx(other["embedding"], abs=1e-2)
    single = ask(client, "/encode", {"text": texts[0]})
    assert len(single["embedding"]) == len(native[0]["embedding"])
    refused = client.post("/classify", json={"text": "x"})
    assert refused.status_code == 400 and "classification" in refused.json()["error"]["message"]


def test_a_session_goes_on_from_its_turns(client: httpx.Client) -> None:
    session = ask(client, "/open_session", {"capacity_of_str_len": 1000})
    params = {"id": session}
    first = ask(
        client,
        "/generate",
        {"text": "The capital of France is", "sampling_params": GREEDY, "session_params": params},
    )
    params |= {"rid": first["meta_info"]["id"]}
    body = {"text": " And the capital", "sampling_params": GREEDY, "session_params": params}
    second = ask(client, "/generate", body)
    tokens = second["meta_info"]["prompt_tokens"]
    assert tokens == first["meta_info"]["prompt_tokens"] + 12 + 3
    assert second["meta_info"]["cached_tokens"] >= first["meta_info"]["prompt_tokens"]
    assert client.post("/close_session", json={"session_id": session}).status_code == 200


def test_the_servers_load_in_all_its_forms(client: httpx.Client) -> None:
    [load] = client.get("/v1/loads").json()["loads"]
    assert (load["dp_rank"], load["num_running_reqs"]) == (0, 0)
    assert load["max_total_num_tokens"] > 1000 and load["queues"]["waiting"] == 0
    [core] = client.get("/v1/loads?include=core").json()["loads"]
    assert "queues" not in core and core["num_running_reqs"] == 0
    text = client.get("/v1/loads?format=prometheus").text
    assert 'sglang_num_running_reqs{dp_rank="0"} 0' in text
    assert client.get("/v1/loads?include=soul").status_code == 400
    info = client.get("/model_info").json()
    assert info["weight_version"] == "default" and info["tool_call_parser"]
    state = client.get("/server_info").json()
    assert state["version"] and state["startup_time"] > 0 and state["dp_size"] == 1
