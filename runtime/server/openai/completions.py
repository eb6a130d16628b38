"""POST /v1/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...messages import Logprobs
from ...text.generation import Generation
from ...text.tokenizer_manager import GenerateInput, TokenizerManager
from ..context import ServerContext, context_of
from ..routing import Routes
from ..streaming import EventStream, event, json_response, merge, while_connected
from .completion_body import CompletionBody
from .sampling_body import StreamOptions, read_sampling
from .usage import finish_reason, matched_stop, sglext, usage

router = Routes()


@router.post("/v1/completions", body=CompletionBody)
async def completions(request: Request) -> Response:
    body = await read_sampling(request, CompletionBody)
    completion = Completion(context_of(request), body)
    if body.stream:
        return EventStream(completion.events())
    return json_response(await while_connected(request, completion.whole()))


@dataclass(slots=True)
class Completion:
    """One /v1/completions request on its way to its answer."""

    context: ServerContext
    body: CompletionBody
    id: str = field(init=False)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.context.check_model(self.body.model)
        self.id = self.body.rid or f"cmpl-{token_hex(16)}"

    @property
    def manager(self) -> TokenizerManager:
        return self.context.manager

    async def whole(self) -> dict[str, Any]:
        prompts = self.body.inputs(self.id, self.manager.tokenizer)
        parts = [part for candidates in prompts for part in candidates]
        done = await self.manager.generate_all(parts)
        choices: list[dict[str, Any]] = []
        for i, candidates in enumerate(prompts):
            each = len(candidates)
            for generation in best(done[i * each : (i + 1) * each], self.body.count):
                text = self._echo(candidates[0]) + generation.text
                choices.append(
                    self._choice(len(choices), generation, text, self._logprobs(generation))
                )
        response = self._response(choices) | {"usage": usage(done, len(prompts))}
        response |= sglext(self.body.return_cached_tokens_details, done[0])
        if done[0].warnings:
            response["warnings"] = done[0].warnings
        return response

    async def events(self) -> AsyncGenerator[bytes, None]:
        prompts = self.body.inputs(self.id, self.manager.tokenizer)
        parts = [part for candidates in prompts for part in candidates]
        options = self.body.stream_options or StreamOptions()
        latest: dict[int, Generation] = {}
        sent_logprobs = [0] * len(parts)
        sent_chars = [0] * len(parts)
        async for i, generation in merge(self.manager, parts):
            text = generation.delta
            if i not in latest:
                text = self._echo(parts[i]) + text
            latest[i] = generation
            if not text and generation.finish is None:
                continue  # logprobs of half a character come with its other half
            logprobs = self._logprobs(generation, sent_logprobs[i], sent_chars[i])
            if generation.output_logprobs is not None:
                sent_logprobs[i] = len(generation.output_logprobs.values)
            if logprobs is not None:
                sent_chars[i] += sum(map(len, logprobs["tokens"]))
            chunk = self._response([self._choice(i, generation, text, logprobs)])
            if options.continuous_usage_stats:
                chunk["usage"] = usage([generation])
            elif options.include_usage:
                chunk["usage"] = None
            yield event(chunk)
        if options.include_usage:
            done = [latest[i] for i in sorted(latest)]
            yield event(self._response([]) | {"usage": usage(done, len(prompts))})

    def _response(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.context.model_name,
            "choices": choices,
        }

    def _choice(
        self, index: int, generation: Generation, text: str, logprobs: dict[str, Any] | None
    ) -> dict[str, Any]:
        choice = {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason(generation),
            "matched_stop": matched_stop(generation),
        }
        if self.body.return_token_ids:
            choice["token_ids"] = list(generation.output_ids)
        return choice

    def _echo(self, part: GenerateInput) -> str:
        if not self.body.echo:
            return ""
        if part.text is not None:
            return part.text
        return self.manager.tokenizer.decode(list(part.input_ids or ()))

    def _logprobs(
        self, generation: Generation, start: int = 0, offset: int = 0
    ) -> dict[str, Any] | None:
        """OpenAI's parallel lists, from the ``start``-th output token, ``offset``-th character."""
        if self.body.logprobs is None or generation.output_logprobs is None:
            return None
        parts = [(generation.output_logprobs, start)]
        if self.body.echo and not start and generation.input_logprobs is not None:
            parts.insert(0, (generation.input_logprobs, 0))
        return legacy_logprobs(self.manager, parts, self.body.logprobs, offset)


def best(candidates: Sequence[Generation], count: int) -> Sequence[Generation]:
    """The ``count`` candidates whose tokens are likeliest on average, best first."""
    if len(candidates) == count:
        return candidates
    return sorted(candidates, key=_mean_logprob, reverse=True)[:count]


def _mean_logprob(generation: Generation) -> float:
    logprobs = generation.output_logprobs
    values = [value for value in logprobs.values if value is not None] if logprobs else []
    return sum(values) / len(values) if values else float("-inf")


def legacy_logprobs(
    manager: TokenizerManager, parts: list[tuple[Logprobs, int]], top: int, offset: int
) -> dict[str, Any]:
    """tokens, token_logprobs, top_logprobs, text_offset, as /v1/completions has them."""
    out: dict[str, list[Any]] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    for logprobs, start in parts:
        ids = {*logprobs.token_ids, *(i for row in logprobs.top for _, i in row)}
        texts = manager.token_texts(ids)
        for place in range(start, len(logprobs.token_ids)):
            text = texts[logprobs.token_ids[place]]
            value = logprobs.values[place]
            out["tokens"].append(text)
            out["token_logprobs"].append(value)
            rivals = {texts[i]: lp for lp, i in logprobs.top[place][:top]}
            out["top_logprobs"].append(None if value is None else rivals)
            out["text_offset"].append(offset)
            offset += len(text)
    return out
