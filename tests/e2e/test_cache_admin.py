"""What a server tells of its prefix cache, with the real model: hits, the tree, pins, tenants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sglang_lang import cli
from sglang_lang.runtime.engine import Engine
from sglang_lang.runtime.errors import RequestError
from tests.runtime.server.sse import events

from .server import running_server

pytestmark = pytest.mark.slow

KEY = "s3cret"
STORY = "Once upon a time a fox met a crow that had found a piece of cheese. " * 6
JSON = dict[str, Any]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    flags = ("--api-key", KEY, "--cpu-threads", "2", "--page-size", "16")
    with running_server(*flags, "--max-total-tokens", "4096", "--context-length", "2048") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """Of a server whose cache is empty."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as made:
        assert made.post("/flush_cache").status_code == 200
        yield made


def ask(client: httpx.Client, path: str, body: JSON) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def native(text: str | list[str], **fields: Any) -> JSON:
    return {"text": text, "sampling_params": {"max_new_tokens": 2, "temperature": 0}, **fields}


def cached_tokens(client: httpx.Client, **fields: Any) -> int:
    count: int = ask(client, "/generate", native(STORY, **fields))["meta_info"]["cached_tokens"]
    return count


def test_native_replies_streams_and_batches_say_what_was_cached(client: httpx.Client) -> None:
    assert cached_tokens(client) == 0
    again = cached_tokens(client)
    assert again >= 96 and again % 16 == 0
    stream = events(client.post("/generate", json=native(STORY, stream=True)).text)
    assert [event["meta_info"]["cached_tokens"] for event in stream] == [again] * len(stream)
    batch = ask(client, "/generate", native([STORY, "Hi", STORY]))
    assert [one["meta_info"]["cached_tokens"] for one in batch] == [again, 0, again]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_usage_says_what_was_cached(client: httpx.Client, path: str) -> None:
    body: JSON = {"model": "default", "max_tokens": 2, "temperature": 0}
    if path == "/v1/completions":
        body["prompt"] = STORY
    else:
        body["messages"] = [{"role": "user", "content": STORY}]
    first = ask(client, path, body)["usage"]
    assert first["prompt_tokens_details"] == {"cached_tokens": 0}
    again = ask(client, path, body)["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert again >= 96
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    last = events(client.post(path, json=body).text)[-1]
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == again


def test_tenants_share_nothing_whichever_way_they_are_named(client: httpx.Client) -> None:
    names: list[JSON] = [
        {},
        {"extra_key": "a"},
        {"cache_salt": "a"},
        {"extra_key": "a", "cache_salt": "b"},
        {"extra_key": "b", "cache_salt": "a"},
        {"extra_key": "a\0b"},
        {"cache_salt": "a\0b"},
    ]
    assert [cached_tokens(client, **name) for name in names] == [0] * len(names)
    assert min(cached_tokens(client, **name) for name in names) >= 96


def test_the_tree_needs_the_key(url: str) -> None:
    assert httpx.get(f"{url}/radix_tree").status_code == 401
    assert httpx.post(f"{url}/pin_prefix", json={"text": "x"}).status_code == 401


def test_the_tree_can_be_drawn(
    client: httpx.Client, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cached_tokens(client)
    ask(client, "/generate", native("Quite another text, which begins in another way." * 3))
    tree = client.get("/radix_tree").json()
    assert tree["page_size"] == 16
    assert tree["total_tokens"] == sum(node["num_tokens"] for node in tree["nodes"])
    assert {node["text"][:10] for node in tree["nodes"]} == {"Once upon ", "Quite anot"}
    assert len(client.get("/radix_tree?nodes=1").json()["nodes"]) == 1
    assert client.get("/radix_tree?nodes=0").status_code == 400
    assert cli.main(["cache", "--url", url, "--api-key", KEY]) == 0
    assert "Once upon a time a fox" in capsys.readouterr().out


def test_a_pinned_prefix_outlives_what_pushes_others_out(client: httpx.Client) -> None:
    pinned = ask(client, "/pin_prefix", {"text": STORY})["pinned_tokens"]
    assert pinned >= 96
    for i in range(12):
        ask(client, "/generate", native(f"{i} " * 500))
    assert client.get("/server_info").json()["internal_states"][0]["evicted_tokens"] > 0
    assert cached_tokens(client) == pinned
    ask(client, "/unpin_prefix", {"text": STORY})
    assert client.post("/unpin_prefix", json={"text": STORY}).status_code == 404
    for i in range(12):
        ask(client, "/generate", native(f"{i}, " * 400))
    assert cached_tokens(client) == 0


def test_pins_leave_room_for_a_request_of_full_length(client: httpx.Client) -> None:
    refused = None
    for i in range(4):
        reply = client.post("/pin_prefix", json={"text": f"{i} " * 500})
        if reply.status_code != 200:
            refused = reply
    assert refused is not None
    assert refused.status_code == 400 and "unpin" in refused.json()["error"]["message"]
    assert len(ask(client, "/generate", native("long " * 1900))["output_ids"]) == 2


def test_an_engine_pins_in_process() -> None:
    settings: JSON = {"max_total_tokens": 2048, "context_length": 1024, "cpu_threads": 2}
    with Engine(log_level="error", **settings) as engine:
        pinned = engine.pin_prefix(STORY)
        assert pinned == engine.get_server_info()["num_pinned_tokens"] >= 96
        assert engine.pin_prefix([1, 2, 3], extra_key="tenant") == 3
        engine.unpin_prefix(STORY)
        with pytest.raises(RequestError, match="not pinned"):
            engine.unpin_prefix([1, 2, 3])
        with pytest.raises(RequestError, match="empty"):
            engine.pin_prefix([])
