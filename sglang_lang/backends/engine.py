"""The runtime in this process, as a place where programs run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any

from ..chat_template import ChatTemplate, fallback_template
from ..extras import needs
from .native import NativeBackend

with needs("runtime"):
    from ..runtime.engine import Engine as RuntimeEngine


class Engine(RuntimeEngine):
    """``generate`` without a server, and a backend for programs.

    Args:
        server_args: the flags of the server by name, such as ``model_path`` and ``dtype``.
    """

    @cached_property
    def _backend(self) -> EngineBackend:
        return EngineBackend(self)

    def as_backend(self) -> EngineBackend:
        """This engine as programs see it."""
        return self._backend


class EngineBackend(NativeBackend):
    """Programs run on an engine of this process.

    Args:
        engine: it.
        chat_template_name: a template of the registry instead of the model's own.
    """

    def __init__(self, engine: RuntimeEngine, chat_template_name: str | None = None) -> None:
        self.engine = engine
        self._template = fallback_template(engine.model_info(), "the engine", chat_template_name)

    @property
    def chat_template(self) -> ChatTemplate | None:
        return self._template

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

    async def length_of_tokens(self, text: str, count: int, add_special_tokens: bool) -> int:
        tokenizer = self.engine.get_tokenizer()
        rest = tokenizer.encode(text, add_special_tokens)[count:]
        return len(text) - len(tokenizer.decode(rest, False))

    async def count_tokens(self, text: str) -> int:
        return len(self.engine.get_tokenizer().encode(text, False))

    def flush_cache(self) -> None:
        self.engine.flush_cache()

    def get_server_info(self) -> dict[str, Any]:
        return self.engine.get_server_info()

    def shutdown(self) -> None:
        self.engine.shutdown()
