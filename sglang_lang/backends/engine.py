"""The runtime in this process, as a place where programs run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ..extras import needs
from .native import NativeBackend

with needs("runtime"):
    from ..runtime.engine import Engine as RuntimeEngine


class Engine(RuntimeEngine):
    """``generate`` without a server, and a backend for programs.

    Args:
        server_args: the flags of the server by name, such as ``model_path`` and ``dtype``.
    """

    def as_backend(self) -> EngineBackend:
        """This engine as programs see it."""
        return EngineBackend(self)


class EngineBackend(NativeBackend):
    """Programs run on an engine of this process."""

    def __init__(self, engine: RuntimeEngine) -> None:
        self.engine = engine

    @property
    def model_name(self) -> str:
        return self.engine.model_name

    async def _generate(self, request: dict[str, Any]) -> Any:
        return await self.engine.async_generate(request.pop("text"), **request)

    async def _stream(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        stream = await self.engine.async_generate(request.pop("text"), stream=True, **request)
        async for response in stream:
            yield response

    async def _score_choices(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self.engine.async_score_choices(**request)

    async def _render(self, request: dict[str, Any]) -> str:
        return self.engine.render_chat(**{"add_generation_prompt": False, **request})

    async def count_tokens(self, text: str) -> int:
        return len(self.engine.get_tokenizer().encode(text, False))

    def flush_cache(self) -> None:
        self.engine.flush_cache()

    def get_server_info(self) -> dict[str, Any]:
        return self.engine.get_server_info()

    def shutdown(self) -> None:
        self.engine.shutdown()
