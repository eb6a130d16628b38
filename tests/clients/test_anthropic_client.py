"""The official ``anthropic`` package: messages, streams, tools, structured output, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

anthropic = pytest.importorskip("anthropic")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),  # the package's own
]

GREEDY: Any = {"temperature": 0}  # the package has no such argument any more
HELLO: Any = [{"role": "user", "content": "Say hello."}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    age: Literal[3, 4, 5]


@pytest.fixture(scope="module")
def client(openai_url: str) -> Iterator[Any]:
    url = openai_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0) as made:
        yield made


def test_a_message(client: Any) -> None:
    message = client.messages.create(
        model="default",
        max_tokens=12,
        extra_body=GREEDY,
        system=[{"type": "text", "text": "Be brief."}],
        messages=HELLO,
        stop_sequences=["zzz"],
    )
    assert message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.output_tokens <= 12
    assert message._request_id == message.id


def test_a_stream_accumulates_to_the_message(client: Any) -> None:
    request: Any = {"model": "default", "max_tokens": 12, "messages": HELLO}
    request["extra_body"] = GREEDY
    with client.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert text == last.content[0].text == client.messages.create(**request).content[0].text
    assert last.stop_reason and last.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_is_read(client: Any, stream: bool) -> None:
    request: Any = {
        "model": "default",
        "max_tokens": 60,
        "extra_body": GREEDY,
        "messages": [{"role": "user", "content": "How is the weather in Rome?"}],
        "tools": [WEATHER],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }
    if stream:
        with client.messages.stream(**request) as running:
            message = running.get_final_message()
    else:
        message = client.messages.create(**request)
    [call] = message.content
    assert message.stop_reason == "tool_use"
    assert call.name == "get_weather" and call.input["city"] in ("Oslo", "Rome")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}
    request["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    request["tool_choice"] = {"type": "none"}
    assert client.messages.create(**request).content[0].type == "text"


def test_an_answer_in_a_schema(client: Any) -> None:
    parsed = client.messages.parse(
        model="default",
        max_tokens=60,
        extra_body=GREEDY,
        messages=[{"role": "user", "content": "My dog Rex is 4 years old."}],
        output_format=Pet,
    )
    assert isinstance(parsed.parsed_output, Pet)


def test_tokens_are_counted(client: Any) -> None:
    short = client.messages.count_tokens(model="default", messages=HELLO)
    longer = client.messages.count_tokens(model="default", messages=HELLO, tools=[WEATHER])
    assert 0 < short.input_tokens < longer.input_tokens


def test_errors_are_the_packages_own(client: Any, openai_url: str) -> None:
    with pytest.raises(anthropic.NotFoundError, match="claude-9"):
        client.messages.create(model="claude-9", max_tokens=1, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="default", max_tokens=-1, messages=HELLO)
    url = openai_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            stranger.messages.create(model="default", max_tokens=1, messages=HELLO)
