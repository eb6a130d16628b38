"""The official ``ollama`` package: chat, generate, streams, tools, formats, models, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

ollama = pytest.importorskip("ollama")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),  # the package's own
]

HELLO: Any = [{"role": "user", "content": "Say hello."}]
SHORT: Any = {"num_predict": 12, "temperature": 0}


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    age: Literal[3, 4, 5]


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first.
        b: the second.

    Returns:
        int: their sum.
    """
    return a + b


@pytest.fixture(scope="module")
def client(openai_url: str) -> Iterator[Any]:
    headers = {"Authorization": "Bearer sk-test"}
    with ollama.Client(host=openai_url.removesuffix("/v1"), headers=headers) as made:
        yield made


def test_chat_and_its_stream(client: Any) -> None:
    whole = client.chat(model="default", messages=HELLO, options=SHORT)
    parts = list(client.chat(model="default", messages=HELLO, options=SHORT, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert parts[-1].done and parts[-1].eval_count == whole.eval_count > 0


def test_generate_goes_on_from_its_context(client: Any) -> None:
    first = client.generate(model="default", prompt="Say hello.", options=SHORT)
    again = client.generate(
        model="default", prompt="Once more.", options=SHORT, context=first.context
    )
    assert again.response and again.prompt_eval_count > len(first.context)


def test_an_answer_in_a_schema(client: Any) -> None:
    answer = client.chat(
        model="default",
        messages=[{"role": "user", "content": "My dog Rex is 4 years old."}],
        format=Pet.model_json_schema(),
        options={"num_predict": 60, "temperature": 0},
    )
    assert Pet.model_validate_json(answer.message.content)


def test_a_python_function_is_a_tool(client: Any) -> None:
    answer = client.chat(model="default", messages=HELLO, tools=[add], options=SHORT)
    assert answer.message.content or answer.message.tool_calls
    called = {"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    messages = [
        *HELLO,
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_name": "add", "content": "3"},
    ]
    assert client.chat(model="default", messages=messages, tools=[add], options=SHORT).done


def test_the_models_there_are(client: Any) -> None:
    [card] = client.list().models
    shown = client.show(card.model)
    assert shown.modelinfo["general.architecture"] == card.details.family
    assert "completion" in shown.capabilities and shown.template
    [running] = client.ps().models
    assert running.model == card.model and running.context_length > 1000


def test_errors_are_the_packages_own(client: Any) -> None:
    with pytest.raises(ollama.ResponseError, match="llama3") as refused:
        client.chat(model="llama3", messages=HELLO)
    assert refused.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="mirostat"):
        client.chat(model="default", messages=HELLO, options={"mirostat": 2}, stream=False)
