"""``sglang-lang run-batch``: a file of requests in OpenAI's batch format, answered into another."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import httpx

import sglang_lang as sgl

from ..errors import CommandError

TIMEOUT_SECONDS = 6 * 3600


def add_to(commands: Any) -> None:
    text = "answer a file of requests in OpenAI's batch format"
    command = commands.add_parser("run-batch", help=text, description=text)
    command.set_defaults(command=run_batch)
    command.add_argument("input", type=Path, metavar="FILE.jsonl")
    command.add_argument("output", type=Path, metavar="OUT.jsonl", nargs="?", help="or stdout")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--url", help="a running server; otherwise one is started for the file")
    where.add_argument("--model-path", metavar="PATH", help="what the started server serves")
    command.add_argument("--api-key", metavar="KEY")
    command.add_argument("--max-concurrency", type=int, default=64)


def run_batch(args: argparse.Namespace) -> int:
    """Exit status 1 if a request failed; its line says why."""
    requests = read(args.input)
    with server(args) as url, output(args.output) as file:
        failed = asyncio.run(answer_all(url, requests, file, args.api_key, args.max_concurrency))
    print(f"{len(requests) - failed} of {len(requests)} requests answered", file=sys.stderr)
    return 1 if failed else 0


def read(path: Path) -> list[dict[str, Any]]:
    """The requests of a file.

    Raises:
        CommandError: names the line that is wrong.
    """
    requests = []
    seen: set[str] = set()
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        problem = None
        try:
            request = json.loads(line)
        except ValueError as error:
            raise CommandError(f"{path}:{number} is not JSON: {error}") from error
        if not isinstance(request, dict) or not isinstance(request.get("custom_id"), str):
            problem = "needs a custom_id"
        elif request["custom_id"] in seen:
            problem = f"repeats the custom_id {request['custom_id']!r}"
        elif request.get("method", "POST") != "POST":
            problem = "must have the method POST"
        elif not str(request.get("url", "")).startswith("/v1/"):
            problem = "needs a url that starts with /v1/"
        elif not isinstance(request.get("body"), dict):
            problem = "needs a body"
        elif request["body"].get("stream"):
            problem = "must not stream"
        if problem is not None:
            raise CommandError(f"{path}:{number} {problem}")
        seen.add(request["custom_id"])
        requests.append(request)
    return requests


@contextlib.contextmanager
def server(args: argparse.Namespace) -> Iterator[str]:
    if args.url:
        yield args.url
        return
    flags = {} if args.model_path is None else {"model_path": args.model_path}
    with sgl.Runtime(**flags) as started:
        yield started.url


@contextlib.contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w") as file:
        yield file


async def answer_all(
    url: str, requests: list[dict[str, Any]], file: TextIO, key: str | None, concurrency: int
) -> int:
    """Write each answer as it comes; returns how many are errors."""
    room = asyncio.Semaphore(concurrency)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:

        async def one(request: dict[str, Any]) -> bool:
            async with room:
                line = await answer(client, request)
            file.write(json.dumps(line) + "\n")
            file.flush()
            return line["error"] is not None or line["response"]["status_code"] != 200

        return sum(await asyncio.gather(*map(one, requests)))


async def answer(client: httpx.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The line for one request: a response of any status, or the error of a broken connection."""
    line: dict[str, Any] = {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": request["custom_id"],
        "response": None,
        "error": None,
    }
    try:
        response = await client.post(request["url"], json=request["body"])
        line["response"] = {
            "status_code": response.status_code,
            "request_id": response.headers.get("x-request-id"),
            "body": response.json(),
        }
    except (httpx.HTTPError, ValueError) as error:
        line["error"] = {"code": type(error).__name__, "message": str(error)}
    return line
