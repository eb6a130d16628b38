"""POST /v1/completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...errors import RequestError
from ...messages import Logprobs
from ...text.generation import Generation
from ...text.tokenizer_manager import GenerateInput, TokenizerManager, with_samples
from ..bodies import read
from ..context import context_of
from ..streaming import event, json_response, merge, sse_response, while_connected
from .prompt_list import prompt_list
from .sampling_body import SamplingBody, StreamOptions
from .usage import finish_reason, matched_stop, usage

router = APIRouter()
MAX_LOGPROBS = 100


class CompletionBody(SamplingBody, kw_only=True):
    prompt: str | list[str | int | list[int]]
    max_tokens: int | None = 16
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    def inputs(self, rid: str) -> tuple[list[GenerateInput], int]:
        """The single requests, and how many prompts they come from."""
        if self.suffix:
            raise RequestError("suffix is not supported by this model", param="suffix")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise RequestError("best_of must equal n", param="best_of")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise RequestError(f"logprobs must be in [0, {MAX_LOGPROBS}]", param="logprobs")
        params = self.sampling_params(
            16 if self.max_tokens is None else self.max_tokens, "max_tokens"
        )
        prompts = prompt_list(self.prompt, "prompt")
        parts: list[GenerateInput] = []
        for i, prompt in enumerate(prompts):
            request = GenerateInput(
                text=prompt if isinstance(prompt, str) else None,
                input_ids=None if isinstance(prompt, str) else prompt,
                sampling_params=params,
                stream=bool(self.stream),
                return_logprob=self.logprobs is not None,
                logprob_start_len=0 if self.echo and self.logprobs is not None else None,
                top_logprobs_num=self.logprobs or 0,
                priority=self.priority or 0,
                extra_key=self.namespace,
                prompt_field="prompt",
            )
            parts += with_samples(request, rid if len(prompts) == 1 else f"{rid}_{i}")
        return parts, len(prompts)


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    body = await read(request, CompletionBody)
    context = context_of(request)
    context.check_model(body.model)
    completion = Completion(
        context.manager, context.model_name, body, body.rid or f"cmpl-{uuid.uuid4().hex}"
    )
    if body.stream:
        return await sse_response(request, completion.events())
    return json_response(await while_connected(request, completion.whole()))


@dataclass(slots=True)
class Completion:
    """One /v1/completions request on its way to its answer."""

    manager: TokenizerManager
    model: str
    body: CompletionBody
    id: str
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self) -> dict[str, Any]:
        parts, num_prompts = self.body.inputs(self.id)
        done = await self.manager.generate_all(parts)
        choices = [
            self._choice(i, g, self._echo(part) + g.text, self._logprobs(g))
            for i, (part, g) in enumerate(zip(parts, done, strict=True))
        ]
        return self._response(choices) | {"usage": usage(done, num_prompts)}

    async def events(self) -> AsyncIterator[bytes]:
        parts, num_prompts = self.body.inputs(self.id)
        options = self.body.stream_options or StreamOptions()
        latest: dict[int, Generation] = {}
        sent_logprobs = [0] * len(parts)
        sent_chars = [0] * len(parts)
        async for i, generation in merge(self.manager, parts):
            text = generation.delta
            if i not in latest:
                text = self._echo(parts[i]) + text
            latest[i] = generation
            logprobs = self._logprobs(generation, sent_logprobs[i], sent_chars[i])
            if generation.output_logprobs is not None:
                sent_logprobs[i] = len(generation.output_logprobs.values)
            if logprobs is not None:
                sent_chars[i] += sum(map(len, logprobs["tokens"]))
            if not text and generation.finish is None:
                continue
            chunk = self._response([self._choice(i, generation, text, logprobs)])
            if options.continuous_usage_stats:
                chunk["usage"] = usage([generation])
            elif options.include_usage:
                chunk["usage"] = None
            yield event(chunk)
        if options.include_usage:
            done = [latest[i] for i in sorted(latest)]
            yield event(self._response([]) | {"usage": usage(done, num_prompts)})

    def _response(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _choice(
        self, index: int, generation: Generation, text: str, logprobs: dict[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason(generation),
            "matched_stop": matched_stop(generation),
        }

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
