"""Requests sent at a rate, with at most so many at a time."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from .client import Ask, Dialect, Sample, send
from .datasets import Item

TIMEOUT_SECONDS = 6 * 3600


@dataclass(frozen=True, slots=True)
class Pace:
    """``rate`` requests a second arrive as a Poisson process; infinity sends all at once."""

    rate: float = math.inf
    max_concurrency: int | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """All samples, in the order of their items, and the seconds it all took."""

    samples: list[Sample]
    seconds: float


async def run(
    base_url: str, dialect: Dialect, items: Sequence[Item], ask: Ask, pace: Pace, key: str | None
) -> Run:
    """Send every item and wait for every answer."""
    rng = random.Random(pace.seed)
    room = asyncio.Semaphore(pace.max_concurrency or len(items) or 1)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)

    async with httpx.AsyncClient(
        base_url=base_url, headers=headers, timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:

        async def one(item: Item) -> Sample:
            async with room:
                return await send(client, dialect, item, ask)

        begin = time.perf_counter()
        tasks = []
        for item in items:
            tasks.append(asyncio.ensure_future(one(item)))
            if math.isfinite(pace.rate):
                await asyncio.sleep(rng.expovariate(pace.rate))
        samples = await asyncio.gather(*tasks)
        return Run(samples, time.perf_counter() - begin)
