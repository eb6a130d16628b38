"""Both forms of each program show the model the same prompts, and come to the same values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from benchmarks.language_workloads import WORKLOADS, Api, Workload
from sglang_lang.backends.base import Prompt
from sglang_lang.choices import ChoicesDecision, ChoicesSamplingMethod

from ..sglang_lang.scripted import ScriptedBackend


def answer(text: str) -> str:
    """Depends on the whole prompt."""
    return f" {sum(text.encode()) % 1000}"


def pick(text: str, choices: Sequence[str]) -> str:
    return choices[sum(text.encode()) % len(choices)]


class Language(ScriptedBackend):
    async def select(
        self,
        prompt: Prompt,
        choices: Sequence[str],
        method: ChoicesSamplingMethod,
        temperature: float,
    ) -> ChoicesDecision:
        self.prompts.append(prompt)
        return ChoicesDecision(pick(prompt.text, choices))


class Plain(Api):
    """Answers as ``Language`` does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def generate(self, text: str, max_tokens: int, **constraint: Any) -> str:
        self.prompts.append(text)
        return answer(text)

    def chat(self, messages: Sequence[Mapping[str, str]], max_tokens: int) -> str:
        turns = (f"<{m['role']}>{m['content']}</{m['role']}>" for m in messages)
        return self.generate("".join(turns) + "<assistant>", max_tokens)

    def select(self, text: str, choices: Sequence[str]) -> str:
        self.prompts.append(text)
        return pick(text, choices)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_both_forms_do_the_same(workload: Workload) -> None:
    plain, language = Plain(), Language(lambda prompt: answer(prompt.text))
    for item in workload.items:
        expected = workload.plain(plain, **item)
        state = workload.program.run(**item, backend=language)
        assert {name: state[name] for name in expected} == expected
    assert sorted(prompt.text for prompt in language.prompts) == sorted(plain.prompts)
