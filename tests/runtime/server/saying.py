"""Servers whose model repeats its prompt, under a chat template of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from sglang_lang.runtime.server.app import create_app
from sglang_lang.runtime.server.context import ServerContext
from sglang_lang.runtime.server_args import ServerArgs
from tests.runtime.server.conftest import CONFIG
from tests.runtime.text.echo import Side, byte_tokenizer

# A template that says the last message alone, so that the echo is what a test puts there.
LAST = "{{ messages[-1].content }}{% if tools %}{% endif %}"


@asynccontextmanager
async def saying(template: str, **args: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Side]]:
    """A client of a server whose model repeats its prompt."""
    async with Side(byte_tokenizer(template)) as side:
        context = ServerContext(ServerArgs(**args), side.manager, CONFIG, "echo")
        transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, side
        await context.responses.close()
