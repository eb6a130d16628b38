"""Load any OpenAI-compatible server with the programs of prefix_workloads.py; one JSON row each.

usage: python -m benchmarks.prefix_load URL MODEL [--work NAME,...] [--scale 1.0] [--seed 0]
What serve.py runs for ``--load benchmarks.prefix_load``. Where a server scores choices itself (this
project's does), a select is one call; elsewhere each choice is a completion whose prompt is echoed
with its logprobs, which is how programs select against the OpenAI API.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import Answer, Target, row, run
from benchmarks.prefix_workloads import SHARING, Program

CHOICES_ROUTE = "/score_choices"


@dataclass(slots=True)
class HttpClient:
    """Runs the programs' calls on a server, and keeps the answers."""

    target: Target
    scores_choices: bool
    answers: list[Answer] = field(default_factory=list)

    async def ask(self, prompt: str, new_tokens: int) -> str:
        answer = await self.target.complete(prompt, new_tokens)
        self.answers.append(answer)
        return answer.text

    async def choose(self, prompt: str, choices: Sequence[str]) -> int:
        start = time.perf_counter()
        if self.scores_choices:
            scores, input_len = await self._score_in_one_call(prompt, choices)
        else:
            scored = await asyncio.gather(*(self._echo(prompt, choice) for choice in choices))
            scores = [score for score, _ in scored]
            input_len = sum(length for _, length in scored)
        seconds = time.perf_counter() - start
        self.answers.append(Answer("", seconds, seconds, input_len, 0))
        return scores.index(max(scores))

    async def _score_in_one_call(
        self, prompt: str, choices: Sequence[str]
    ) -> tuple[list[float], int]:
        reply = await self._post(CHOICES_ROUTE, {"text": prompt, "choices": list(choices)})
        scores = [statistics.fmean(choice["logprobs"]) for choice in reply["choices"]]
        return scores, reply["meta_info"]["prompt_tokens"]

    async def _echo(self, prompt: str, choice: str) -> tuple[float, int]:
        """Mean logprob of the choice's tokens, and the length of the prompt that was sent."""
        body = {"model": self.target.model, "prompt": prompt + choice, "max_tokens": 1}
        reply = await self._post(
            "/v1/completions", body | {"temperature": 0, "echo": True, "logprobs": 0}
        )
        logprobs = reply["choices"][0]["logprobs"]
        length = reply["usage"]["prompt_tokens"]
        of_choice = [
            logprob
            for offset, logprob in zip(
                logprobs["text_offset"][:length], logprobs["token_logprobs"][:length], strict=True
            )
            if offset >= len(prompt)
        ]
        return statistics.fmean(of_choice), length

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        response = await self.target.client.post(path, json=body)
        response.raise_for_status()
        return response.json()


async def scores_choices(target: Target) -> bool:
    body = {"text": "One or", "choices": [" two", " three"]}
    response = await target.client.post(CHOICES_ROUTE, json=body)
    return response.is_success


async def measure(target: Target, names: Sequence[str], seed: int, scale: float) -> None:
    await asyncio.gather(*(target.complete(f"warm {i} {seed}", 8) for i in range(8)))
    in_one_call = await scores_choices(target)
    for name in names:
        program: Program = SHARING[name]
        client = HttpClient(target, in_one_call)
        start = time.perf_counter()
        await program(client, seed, scale)
        seconds = time.perf_counter() - start
        print(json.dumps(row(name, client.answers, seconds)), flush=True)


if __name__ == "__main__":
    asyncio.run(run(__doc__, [*SHARING], measure))
