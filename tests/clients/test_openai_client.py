"""The official ``openai`` package, on every route that it has for us."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

openai = pytest.importorskip("openai")

pytestmark = [pytest.mark.slow, pytest.mark.clients]

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
HELLO: Any = [{"role": "user", "content": "Say hello."}]


class Person(BaseModel):
    name: Literal["Ann", "Bob"]
    age: int


@pytest.fixture(scope="module")
def client(openai_url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=openai_url, api_key="sk-test", max_retries=0) as made:
        yield made


def test_chats_whole_and_streamed(client: Any) -> None:
    whole = client.chat.completions.create(
        model="default", messages=HELLO, max_tokens=8, temperature=0
    )
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.prompt_tokens_details.cached_tokens >= 0
    stream = client.chat.completions.create(
        model="default",
        messages=HELLO,
        max_tokens=8,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 8


def test_parses_into_a_model(client: Any) -> None:
    parsed = client.chat.completions.parse(
        model="default", messages=HELLO, response_format=Person, max_tokens=60, temperature=0
    )
    assert isinstance(parsed.choices[0].message.parsed, Person)


def test_streams_a_tool_call_through_its_helper(client: Any) -> None:
    with client.chat.completions.stream(
        model="default",
        messages=HELLO,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=60,
    ) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == ["get_weather"]
    assert json.loads(done[0].arguments)["city"] in ("Oslo", "Rome")


def test_completes_and_scores(client: Any) -> None:
    answer = client.completions.create(
        model="default", prompt="2 + 2 =", max_tokens=3, logprobs=2, echo=True, n=2, best_of=2
    )
    assert len(answer.choices) == 2
    assert answer.choices[0].logprobs.token_logprobs[0] is None


def test_embeds_in_base64_as_it_asks_by_default(client: Any) -> None:
    answer = client.embeddings.create(model="default", input=["one", "two"])
    assert [len(entry.embedding) for entry in answer.data] == [576, 576]
    plain = client.embeddings.create(model="default", input="one", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding, abs=1e-2)


def test_models(client: Any) -> None:
    [model] = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id


def test_responses(client: Any) -> None:
    made = client.responses.create(model="default", input="Say hello.", max_output_tokens=8)
    assert made.output_text and made.status == "incomplete"
    assert client.responses.retrieve(made.id).output_text == made.output_text
    parsed = client.responses.parse(
        model="default",
        input="Who?",
        text_format=Person,
        previous_response_id=made.id,
        max_output_tokens=60,
        temperature=0,
    )
    assert isinstance(parsed.output_parsed, Person)
    with client.responses.stream(
        model="default", input="Who?", text_format=Person, max_output_tokens=60, temperature=0
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.output_text.delta" in kinds and isinstance(final.output_parsed, Person)
    tool = {"type": "function", **WEATHER["function"]}
    called = client.responses.create(
        model="default", input="Rome?", tools=[tool], tool_choice="required", max_output_tokens=99
    )
    assert called.output[0].type == "function_call"
    background = client.responses.create(
        model="default", input="x", background=True, max_output_tokens=4000, temperature=2
    )
    assert client.responses.cancel(background.id).status in ("cancelled", "completed")


def test_batches(client: Any) -> None:
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "default", "messages": HELLO, "max_tokens": 4},
    }
    file = client.files.create(file=("b.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    deadline = time.monotonic() + 60
    while batch.status != "completed":
        assert time.monotonic() < deadline and batch.status != "failed", batch
        batch = client.batches.retrieve(batch.id)
    answer = json.loads(client.files.content(batch.output_file_id).text)
    assert answer["response"]["body"]["usage"]["completion_tokens"] == 4
    assert batch.id in [found.id for found in client.batches.list()]
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_errors_are_those_of_the_package(client: Any, openai_url: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="default", messages=HELLO, temperature=1000)
    assert bad.value.param == "temperature" and bad.value.type == "invalid_request_error"
    with openai.OpenAI(base_url=openai_url, api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.models.list()
    assert refused.value.code == "invalid_api_key"
