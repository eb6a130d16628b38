"""One request of a benchmark, in any of the dialects, and when its tokens came."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from .datasets import Item


@dataclass(slots=True)
class Sample:
    """What one request got; seconds since it was sent."""

    output_len: int = 0
    input_len: int = 0
    first_token: float = 0.0
    latency: float = 0.0
    gaps: list[float] = field(default_factory=list)  # between messages with tokens
    sent_at: float = 0.0
    error: str | None = None

    @property
    def per_token(self) -> float:
        """Mean seconds for a token after the first."""
        return (self.latency - self.first_token) / max(self.output_len - 1, 1)


@dataclass(frozen=True, slots=True)
class Ask:
    """How every request is made."""

    model: str
    stream: bool = True
    ignore_eos: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A route, the body it takes, and what a message of its answer says.

    ``read`` gives (whether it has new text, usage if it has one).
    """

    path: str
    body: Callable[[Item, Ask], dict[str, Any]]
    read: Callable[[dict[str, Any]], tuple[bool, dict[str, int] | None]]


def _native_body(item: Item, ask: Ask) -> dict[str, Any]:
    params = {"max_new_tokens": item.output_len, "temperature": 0.0, "ignore_eos": ask.ignore_eos}
    return {"text": item.prompt, "sampling_params": params, "stream": ask.stream}


def _native_read(message: dict[str, Any]) -> tuple[bool, dict[str, int] | None]:
    return bool(message["text"]), message["meta_info"]


def _openai_body(item: Item, ask: Ask) -> dict[str, Any]:
    body = {
        "model": ask.model,
        "max_tokens": item.output_len,
        "temperature": 0.0,
        "ignore_eos": ask.ignore_eos,
        "stream": ask.stream,
    }
    return body | ({"stream_options": {"include_usage": True}} if ask.stream else {})


def _completion_body(item: Item, ask: Ask) -> dict[str, Any]:
    return _openai_body(item, ask) | {"prompt": item.prompt}


def _chat_body(item: Item, ask: Ask) -> dict[str, Any]:
    return _openai_body(item, ask) | {"messages": [{"role": "user", "content": item.prompt}]}


def _completion_read(message: dict[str, Any]) -> tuple[bool, dict[str, int] | None]:
    return any(choice["text"] for choice in message["choices"]), message.get("usage")


def _chat_read(message: dict[str, Any]) -> tuple[bool, dict[str, int] | None]:
    said = (choice.get("delta") or choice.get("message") or {} for choice in message["choices"])
    return any(part.get("content") or part.get("reasoning_content") for part in said), message.get(
        "usage"
    )


NATIVE = Dialect("/generate", _native_body, _native_read)
COMPLETIONS = Dialect("/v1/completions", _completion_body, _completion_read)
CHAT = Dialect("/v1/chat/completions", _chat_body, _chat_read)
DIALECTS = {
    "sglang": NATIVE,
    "sglang-native": NATIVE,
    "sglang-oai": COMPLETIONS,
    "sglang-oai-chat": CHAT,
    "vllm": COMPLETIONS,
    "vllm-chat": CHAT,
    "openai": COMPLETIONS,
    "openai-chat": CHAT,
}


async def send(client: httpx.AsyncClient, dialect: Dialect, item: Item, ask: Ask) -> Sample:
    """Make one request; what goes wrong is in the sample."""
    body = dialect.body(item, ask) | dict(ask.extra)
    sample = Sample(sent_at=time.perf_counter())
    try:
        async with client.stream("POST", dialect.path, json=body) as response:
            if response.is_error:
                text = (await response.aread()).decode(errors="replace")
                sample.error = f"{response.status_code}: {text[:300]}"
            elif ask.stream:
                await _read_stream(response, dialect, sample)
            else:
                _, usage = dialect.read(json.loads(await response.aread()))
                _count(sample, usage)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        sample.error = f"{type(error).__name__}: {error}"
    sample.latency = time.perf_counter() - sample.sent_at
    if not ask.stream:
        sample.first_token = sample.latency
    return sample


async def _read_stream(response: httpx.Response, dialect: Dialect, sample: Sample) -> None:
    last = 0.0
    async for line in response.aiter_lines():
        if not line.startswith("data: {"):
            continue
        message = json.loads(line.removeprefix("data: "))
        if "error" in message:
            sample.error = str(message["error"])
            return
        has_text, usage = dialect.read(message)
        _count(sample, usage)
        if has_text:
            now = time.perf_counter() - sample.sent_at
            if last:
                sample.gaps.append(now - last)
            else:
                sample.first_token = now
            last = now


def _count(sample: Sample, usage: dict[str, int] | None) -> None:
    if usage:
        sample.input_len = usage["prompt_tokens"]
        sample.output_len = usage["completion_tokens"]
