"""CPU that an API process spends on streaming: for each request, and for each token.

usage: python -m benchmarks.api_cost URL PID [MODEL] [--streams 64] [--tokens 128] [--rounds 3]
PID is the process that speaks HTTP, of any OpenAI-compatible server on this machine; a model in a
process of its own does not count. The CPU time of that process is read before and after two loads,
one of many short requests and one of long ones, and split in two by their numbers of requests and
tokens. It is not wall-clock time, so a busy machine changes it little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from dataclasses import dataclass

import httpx
import psutil

SHORT = 2  # tokens of a short request
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Load:
    """What one load was, and the CPU seconds it cost."""

    requests: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU microseconds."""

    per_request: float
    per_token: float


def split(short: Load, long: Load) -> Cost:
    """Solve seconds = requests * a + tokens * b for both loads."""
    determinant = short.requests * long.tokens - long.requests * short.tokens
    a = (short.seconds * long.tokens - long.seconds * short.tokens) / determinant
    b = (short.requests * long.seconds - long.requests * short.seconds) / determinant
    return Cost(a * 1e6, b * 1e6)


@dataclass(frozen=True, slots=True)
class Target:
    client: httpx.AsyncClient
    process: psutil.Process
    model: str
    route: str

    async def load(self, streams: int, rounds: int, new_tokens: int) -> Load:
        """``streams`` requests at a time, ``rounds`` times."""
        before = self._cpu_seconds()
        tokens = 0
        for number in range(rounds):
            work = (self._stream(f"{number} {i}", new_tokens) for i in range(streams))
            tokens += sum(await asyncio.gather(*work))
        return Load(streams * rounds, tokens, self._cpu_seconds() - before)

    def _cpu_seconds(self) -> float:
        user, system = self.process.cpu_times()[:2]
        return float(user + system)

    async def _stream(self, name: str, new_tokens: int) -> int:
        """Returns the number of output tokens."""
        question = f"Write about the number {name}."
        body = {
            "model": self.model,
            "max_tokens": new_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.route == "chat":
            path = "/v1/chat/completions"
            body["messages"] = [{"role": "user", "content": question}]
        else:
            path = "/v1/completions"
            body["prompt"] = question
        usage = b""
        async with self.client.stream("POST", path, json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if '"completion_tokens"' in line:
                    usage = line.removeprefix("data: ").encode()
        count: int = json.loads(usage)["usage"]["completion_tokens"]
        return count


async def measure(args: argparse.Namespace) -> list[Cost]:
    limits = httpx.Limits(max_connections=args.streams, max_keepalive_connections=args.streams)
    async with httpx.AsyncClient(
        base_url=args.url, timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:
        target = Target(client, psutil.Process(args.pid), args.model, args.route)
        await target.load(args.streams, 1, args.tokens)  # connections, caches, lazy imports
        costs = []
        for _ in range(args.rounds):
            short = await target.load(args.streams, 4, SHORT)
            long = await target.load(args.streams, 1, args.tokens)
            costs.append(split(short, long))
            print(
                json.dumps(
                    {"us_per_request": costs[-1].per_request, "us_per_token": costs[-1].per_token}
                )
            )
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("pid", type=int)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--streams", type=int, default=64, help="requests at a time")
    parser.add_argument("--tokens", type=int, default=128, help="of a long request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--route", choices=("completions", "chat"), default="completions")
    args = parser.parse_args()
    costs = asyncio.run(measure(args))
    tokens = statistics.median(cost.per_token for cost in costs)
    requests = statistics.median(cost.per_request for cost in costs)
    print(f"{tokens:.1f} us a token, {requests / 1000:.2f} ms a request ({args.route})")


if __name__ == "__main__":
    main()
