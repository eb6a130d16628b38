"""Load any OpenAI-compatible server with the same work; print one JSON row a workload.

usage: python -m benchmarks.load URL MODEL [--work single,batch,...] [--scale 1.0] [--seed 0]
A prompt seen before is cached: start the server afresh, or take another seed, for every repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks import workloads

TIMEOUT_SECONDS = 600
CONNECTIONS = 256
KEEP_ALIVE_SECONDS = 2  # less than any server keeps an idle connection


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's result; times in seconds, lengths in tokens."""

    text: str
    first_token: float
    total: float
    input_len: int
    output_len: int


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the name of the model it serves."""

    client: httpx.AsyncClient
    model: str

    async def complete(self, prompt: str, new_tokens: int) -> Answer:
        """Stream exactly ``new_tokens`` greedy tokens after the prompt."""
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": new_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        start = time.perf_counter()
        first: float | None = None
        usage: dict[str, int] = {}
        pieces: list[str] = []
        async with self.client.stream("POST", "/v1/completions", json=body) as response:
            if response.is_error:
                raise RuntimeError(f"{response.status_code}: {(await response.aread())[:300]!r}")
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                pieces += [choice["text"] for choice in event["choices"] if choice["text"]]
                first = first or (time.perf_counter() if pieces else None)
                usage = event.get("usage") or usage
        total = time.perf_counter() - start
        return Answer(
            text="".join(pieces),
            first_token=first - start if first else total,
            total=total,
            input_len=usage["prompt_tokens"],
            output_len=usage["completion_tokens"],
        )

    async def describe(self, question: str) -> Answer:
        """Ask for JSON of the schema, and check that it is."""
        schema = {"name": "person", "schema": workloads.SCHEMA, "strict": True}
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 160,
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        start = time.perf_counter()
        response = await self.client.post("/v1/chat/completions", json=body)
        total = time.perf_counter() - start
        response.raise_for_status()
        reply = response.json()
        text = reply["choices"][0]["message"]["content"]
        usage = reply["usage"]
        return Answer(text, total, total, usage["prompt_tokens"], usage["completion_tokens"])

    async def converse(self, conversation: workloads.Conversation) -> list[Answer]:
        history = conversation.opening
        answers = []
        for question in conversation.questions:
            history += f"\nuser: {question}\nassistant:"
            answers.append(await self.complete(history, conversation.new_tokens))
            history += answers[-1].text
        return answers


def row(work: str, answers: Sequence[Answer], seconds: float, **more: Any) -> dict[str, Any]:
    input_len = sum(answer.input_len for answer in answers)
    output_len = sum(answer.output_len for answer in answers)
    first = [1e3 * answer.first_token for answer in answers]
    per_token = [
        1e3 * (answer.total - answer.first_token) / max(1, answer.output_len - 1)
        for answer in answers
    ]
    return {
        "work": work,
        "n": len(answers),
        "wall_s": round(seconds, 3),
        "in_tok": input_len,
        "out_tok": output_len,
        "out_tok_s": round(output_len / seconds, 1),
        "total_tok_s": round((input_len + output_len) / seconds, 1),
        "ttft_ms_p50": round(statistics.median(first), 1),
        "tpot_ms_p50": round(statistics.median(per_token), 2),
        **more,
    }


async def single(target: Target, seed: int, scale: float) -> list[Answer]:
    work = workloads.single(seed, scale)
    return [await target.complete(prompt, work.new_tokens) for prompt in work.prompts]


async def together(target: Target, work: workloads.Completions) -> list[Answer]:
    return await asyncio.gather(
        *(target.complete(prompt, work.new_tokens) for prompt in work.prompts)
    )


async def batch(target: Target, seed: int, scale: float) -> list[Answer]:
    return await together(target, workloads.batch(seed, scale))


async def prefix(target: Target, seed: int, scale: float) -> list[Answer]:
    return await together(target, workloads.prefix(seed, scale))


async def chat(target: Target, seed: int, scale: float) -> list[Answer]:
    rounds = await asyncio.gather(*map(target.converse, workloads.chat(seed, scale)))
    return [answer for answers in rounds for answer in answers]


async def people(target: Target, seed: int, scale: float) -> list[Answer]:
    return await asyncio.gather(*map(target.describe, workloads.people(seed, scale)))


Work = Callable[[Target, int, float], Awaitable[list[Answer]]]
WORKS: dict[str, Work] = {
    "single": single,
    "batch": batch,
    "prefix": prefix,
    "chat": chat,
    "json": people,
}


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


async def measure(target: Target, names: Sequence[str], seed: int, scale: float) -> None:
    await target.complete("warm up the engine", 8)
    await asyncio.gather(*(target.complete(f"warm {i} {seed}", 8) for i in range(8)))
    for name in names:
        if name == "json":  # the schema is compiled outside of the timed part
            await target.describe("Describe anyone as JSON.")
        start = time.perf_counter()
        answers = await WORKS[name](target, seed, scale)
        seconds = time.perf_counter() - start
        more = {"ok": sum(is_json(a.text) for a in answers)} if name == "json" else {}
        print(json.dumps(row(name, answers, seconds, **more)), flush=True)


Measure = Callable[[Target, Sequence[str], int, float], Awaitable[None]]


async def run(description: str | None, works: Sequence[str], measure: Measure) -> None:
    """Read the command line of a load script, and measure the server it names.

    Args:
        description: what ``--help`` says.
        works: the names of all works, which is what is measured if none is named.
        measure: takes the server, the names, the seed and the part of the requests of each work.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--work", default=",".join(works))
    parser.add_argument("--scale", type=float, default=1.0, help="part of the requests of each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    limits = httpx.Limits(max_connections=CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS)
    async with httpx.AsyncClient(
        base_url=args.url, timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:
        await measure(Target(client, args.model), args.work.split(","), args.seed, args.scale)


if __name__ == "__main__":
    asyncio.run(run(__doc__, [*WORKS], measure))
