"""pydantic-ai's agent, with tools and structured output."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

pydantic_ai = pytest.importorskip("pydantic_ai")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),  # the package's own
]


class Light(BaseModel):
    colour: Literal["red", "green"]


@pytest.fixture
async def model(openai_url: str) -> AsyncIterator[Any]:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with AsyncOpenAI(base_url=openai_url, api_key="sk-test") as client:
        yield OpenAIChatModel("default", provider=OpenAIProvider(openai_client=client))


SETTINGS = {"temperature": 0.0, "max_tokens": 100}


async def test_runs_and_streams(model: Any) -> None:
    agent: Any = pydantic_ai.Agent(model, model_settings=SETTINGS)
    whole = await agent.run("Say hello.")
    async with agent.run_stream("Say hello.") as stream:
        assert await stream.get_output() == whole.output


@pytest.mark.parametrize("kind", ["ToolOutput", "NativeOutput"])
async def test_structured_output(model: Any, kind: str) -> None:
    output = getattr(pydantic_ai, kind)(Light)
    agent: Any = pydantic_ai.Agent(model, output_type=output, model_settings=SETTINGS)
    assert isinstance((await agent.run("Which colour?")).output, Light)
