"""A backend that answers from a script and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sglang_lang.backends.base import BaseBackend, Completion, Prompt, Request
from sglang_lang.choices import ChoiceScores, ChoicesDecision, ChoicesSamplingMethod, decide
from sglang_lang.errors import BackendError
from sglang_lang.ir import GenOptions

Script = Callable[[Prompt], str]


class ScriptedBackend(BaseBackend):
    """Answers ``script(prompt)``; a turn is written ``<role>content</role>``."""

    def __init__(self, script: Script = lambda prompt: "answer") -> None:
        self.script = script
        self.prompts: list[Prompt] = []
        self.options: list[GenOptions] = []
        self.warmed: list[str] = []
        self.batches: list[int] = []  # sizes
        self.cancelled = 0
        self.hold: asyncio.Event | None = None

    @property
    def model_name(self) -> str:
        return "scripted"

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], open_role: str | None
    ) -> str:
        text = "".join(f"<{m['role']}>{m['content']}</{m['role']}>" for m in messages)
        return text + (f"<{open_role}>" if open_role else "")

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        self.prompts.append(prompt)
        self.options.append(options)
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        text = self.script(prompt)
        if text == "FAIL":
            raise BackendError("the script says so", status=500)
        meta = {"prompt_tokens": len(prompt.text), "completion_tokens": len(text)}
        return [Completion(text, dict(meta)) for _ in range(options.n or 1)]

    async def generate_batch(self, requests: Sequence[Request]) -> list[list[Completion]]:
        self.batches.append(len(requests))
        return await super().generate_batch(requests)

    async def generate_stream(
        self, prompt: Prompt, options: GenOptions
    ) -> AsyncIterator[Completion]:
        whole = (await self.generate(prompt, options))[0]
        for letter in whole.text:
            await asyncio.sleep(0)
            yield Completion(letter, whole.meta_info)

    async def select(
        self,
        prompt: Prompt,
        choices: Sequence[str],
        method: ChoicesSamplingMethod,
        temperature: float,
    ) -> ChoicesDecision:
        self.prompts.append(prompt)
        wanted = self.script(prompt)
        scores = [ChoiceScores([1], [0.0 if choice == wanted else -1.0]) for choice in choices]
        return decide(method, choices, scores)

    async def warm(self, prompt: Prompt) -> None:
        self.warmed.append(prompt.text)
