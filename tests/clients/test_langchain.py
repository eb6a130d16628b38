"""LangChain's ``ChatOpenAI`` and ``OpenAIEmbeddings``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

langchain_openai = pytest.importorskip("langchain_openai")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),  # the package's own
]


class Colour(BaseModel):
    """A colour of the flag."""

    name: Literal["red", "green"] = Field(description="its name")


@pytest.fixture(scope="module")
def model(openai_url: str) -> Iterator[Any]:
    made = langchain_openai.ChatOpenAI(
        model="default", base_url=openai_url, api_key="sk-test", temperature=0, max_tokens=60
    )
    yield made
    made.root_client.close()


def test_invokes_and_streams(model: Any) -> None:
    whole = model.invoke("Say hello.")
    assert whole.content == "".join(chunk.content for chunk in model.stream("Say hello."))
    assert whole.usage_metadata["input_tokens"] > 0


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(model: Any, method: str) -> None:
    answer = model.with_structured_output(Colour, method=method).invoke("Which colour?")
    assert isinstance(answer, Colour)


def test_binds_tools(model: Any) -> None:
    answer = model.bind_tools([Colour], tool_choice="required", parallel_tool_calls=False).invoke(
        "Red?"
    )
    [call] = answer.tool_calls
    assert call["name"] == "Colour" and call["args"]["name"] in ("red", "green")


def test_embeds(openai_url: str) -> None:
    embeddings = langchain_openai.OpenAIEmbeddings(
        model="default", base_url=openai_url, api_key="sk-test", check_embedding_ctx_length=False
    )
    assert [len(v) for v in embeddings.embed_documents(["a", "b"])] == [576, 576]
    embeddings.client._client.close()
