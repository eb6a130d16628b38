"""The HTTP application over an echoing scheduler, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.checkpoints.config import ModelConfig
from sglang_lang.runtime.server.app import create_app
from sglang_lang.runtime.server.context import ServerContext
from sglang_lang.runtime.server_args import ServerArgs
from tests.runtime.text.echo import CONTEXT, Side

Connect = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

CONFIG = ModelConfig.from_hf(
    {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 257,
        "max_position_embeddings": CONTEXT,
    }
)


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    async with Side() as made:
        yield made


@pytest.fixture
def connect(side: Side) -> Connect:
    """Opens a client of an application with the given server arguments."""

    @asynccontextmanager
    async def opened(**args: Any) -> AsyncIterator[httpx.AsyncClient]:
        context = ServerContext(ServerArgs(**args), side.manager, CONFIG, "echo")
        transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
            yield made

    return opened


@pytest.fixture
async def client(connect: Connect) -> AsyncIterator[httpx.AsyncClient]:
    async with connect() as made:
        yield made
