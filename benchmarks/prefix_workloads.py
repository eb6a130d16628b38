"""Programs whose prompts share prefixes, as clients run them: few-shot, select, chat, tree, agents.

Every text is generated from a fixed seed; what follows an answer contains the model's own words.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from benchmarks.workloads import sentence


class Client(Protocol):
    """What a program may ask."""

    async def ask(self, prompt: str, new_tokens: int) -> str:
        """The greedy continuation, exactly ``new_tokens`` long."""
        ...

    async def choose(self, prompt: str, choices: Sequence[str]) -> int:
        """The likeliest of the choices."""
        ...


Program = Callable[[Client, int, float], Coroutine[Any, Any, None]]


async def mmlu(client: Client, seed: int, scale: float) -> None:
    """6 subjects, each with 5 solved questions before every one of 8 new ones; one letter each."""
    work = []
    for subject in range(6):
        rng = random.Random(f"mmlu {seed} {subject}")
        solved = "".join(f"{_question(rng)} {rng.choice('ABCD')}\n\n" for _ in range(5))
        opening = f"The following are multiple choice questions about {sentence(rng, 2)}.\n\n"
        for _ in range(_count(8, scale)):
            work.append(client.ask(f"{opening}{solved}{_question(rng)}", 1))
    await asyncio.gather(*work)


async def hellaswag(client: Client, seed: int, scale: float) -> None:
    """20 stories with their ends, then 12 whose end is selected out of 4."""
    rng = random.Random(f"hellaswag {seed}")
    shots = "".join(f"Story: {sentence(rng, 24)}. End: {sentence(rng, 14)}.\n" for _ in range(20))
    work = []
    for _ in range(_count(12, scale)):
        choices = [f" {sentence(rng, 14)}." for _ in range(4)]
        work.append(client.choose(f"{shots}Story: {sentence(rng, 24)}. End:", choices))
    await asyncio.gather(*work)


async def chat(client: Client, seed: int, scale: float) -> None:
    """8 conversations of 5 turns under one system prompt."""
    rng = random.Random(f"chat {seed}")
    system = f"system: {sentence(rng, 60)}\n"

    async def converse(rng: random.Random) -> None:
        history = system
        for _ in range(5):
            history += f"user: {sentence(rng, 40)}\nassistant:"
            history += await client.ask(history, 24) + "\n"

    await asyncio.gather(
        *(converse(random.Random(f"chat {seed} {i}")) for i in range(_count(8, scale)))
    )


async def tree_of_thoughts(client: Client, seed: int, scale: float) -> None:
    """3 problems; 3 thoughts on each of 3 levels, each judged before it is thought further."""

    async def think(history: str, depth: int, rng: random.Random) -> None:
        thought = f"{history}Thought {depth} ({sentence(rng, 8)}):"
        history = thought + await client.ask(thought, 16) + "\n"
        await client.ask(f"{history}How good is this thought, from 1 to 9?", 1)
        if depth < 3:
            await asyncio.gather(*(think(history, depth + 1, rng) for _ in range(3)))

    problems = [random.Random(f"tree {seed} {i}") for i in range(_count(3, scale))]
    await asyncio.gather(
        *(
            think(f"Solve step by step. {sentence(rng, 120)}\n", 1, rng)
            for rng in problems
            for _ in range(3)
        )
    )


async def agents(client: Client, seed: int, scale: float) -> None:
    """8 agents with the same tools; each observes, thinks and acts 4 times on what it has seen."""
    rng = random.Random(f"agents {seed}")
    tools = "".join(f"tool {sentence(rng, 2)}: {sentence(rng, 20)}\n" for _ in range(16))

    async def act(rng: random.Random) -> None:
        history = f"{tools}goal: {sentence(rng, 20)}\n"
        for _ in range(4):
            history += f"observation: {sentence(rng, 30)}\nthought:"
            history += await client.ask(history, 16) + "\naction:"
            history += await client.ask(history, 6) + "\n"

    await asyncio.gather(
        *(act(random.Random(f"agent {seed} {i}")) for i in range(_count(8, scale)))
    )


async def unrelated(client: Client, seed: int, scale: float) -> None:
    """100 prompts that share nothing."""
    rng = random.Random(f"unrelated {seed}")
    prompts = [sentence(rng, 100) for _ in range(_count(100, scale))]
    await asyncio.gather(*(client.ask(prompt, 16) for prompt in prompts))


SHARING: dict[str, Program] = {
    "MMLU 5-shot": mmlu,
    "HellaSwag 20-shot select": hellaswag,
    "multi-turn chat": chat,
    "tree of thoughts": tree_of_thoughts,
    "agents": agents,
}


def _count(count: int, scale: float) -> int:
    return max(1, round(count * scale))


def _question(rng: random.Random) -> str:
    answers = " ".join(f"{letter}. {sentence(rng, 4)}" for letter in "ABCD")
    return f"{sentence(rng, 24)}? {answers} Answer:"
