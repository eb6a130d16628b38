"""Requests and answers of the OpenAI API, as its client and litellm's take and give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import BackendError
from ..ir import GenOptions, SglMedia
from .base import Completion, Prompt
from .constraints import is_closed
from .hosted import chat_messages, token_counts
from .media import data_url

_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n")


def sampling_fields(options: GenOptions, stops: Sequence[str]) -> dict[str, Any]:
    """What chat and completion requests have in common."""
    fields: dict[str, Any] = {
        name: value for name in _SAMPLING if (value := getattr(options, name)) is not None
    }
    if all_stops := [*options.stops(), *stops]:
        fields["stop"] = all_stops
    if options.logit_bias:
        fields["logit_bias"] = {str(i): bias for i, bias in options.logit_bias.items()}
    return fields


def chat_request(
    prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Arguments of ``chat.completions.create`` but the model."""
    request = sampling_fields(options, prompt.stops)
    request["messages"] = [_message(turn) for turn in chat_messages(prompt)]
    request["max_completion_tokens"] = options.max_tokens
    if options.return_logprob or options.top_logprobs_num:
        request |= {"logprobs": True, "top_logprobs": options.top_logprobs_num or 0}
    if schema is not None:
        # Strict where the API can be: it wants every object closed and every property named.
        named = {"name": "answer", "schema": schema, "strict": is_closed(schema)}
        request["response_format"] = {"type": "json_schema", "json_schema": named}
    return request


def completion_request(prompt: Prompt, options: GenOptions) -> dict[str, Any]:
    """Arguments of ``completions.create`` but the model."""
    request = sampling_fields(options, prompt.stops)
    request |= {"prompt": prompt.text, "max_tokens": options.max_tokens}
    if options.return_logprob or options.top_logprobs_num:
        request["logprobs"] = options.top_logprobs_num or 0
    return request


def completions_of(response: Any) -> list[Completion]:
    """The answers; the first one carries what the call cost."""
    answers = [
        Completion(
            _text(choice),
            {"id": response.id, **_ending(choice), **_reasoning(choice), "calls": 0},
        )
        for choice in response.choices
    ]
    answers[0].meta_info |= {**_counts(response.usage), "calls": 1}
    return answers


def piece_of(chunk: Any, meta: dict[str, Any]) -> Completion:
    """The new text of a stream's chunk; ``meta`` is of the chunks before."""
    meta = {**meta, "id": chunk.id}
    if getattr(chunk, "usage", None) is not None:
        meta |= _counts(chunk.usage)
    if not chunk.choices:
        return Completion("", meta)
    choice = chunk.choices[0]
    if choice.finish_reason is not None:
        meta |= _ending(choice)
    meta |= _reasoning(choice, meta.get("reasoning_content", ""))
    text = choice.delta.content if hasattr(choice, "delta") else choice.text
    return Completion(text or "", meta)


def _message(turn: dict[str, Any]) -> dict[str, Any]:
    if isinstance(turn["content"], str):
        return turn
    return {"role": turn["role"], "content": [_part(part) for part in turn["content"]]}


def _part(part: str | SglMedia) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": data_url(part)}}


def _text(choice: Any) -> str:
    if not hasattr(choice, "message"):
        return str(choice.text)
    if choice.message.content is None:
        refusal = getattr(choice.message, "refusal", None)
        raise BackendError(f"the model did not answer: {refusal or choice.finish_reason}")
    return str(choice.message.content)


def _ending(choice: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"finish_reason": {"type": choice.finish_reason}}
    if getattr(choice, "logprobs", None) is not None:
        meta["logprobs"] = choice.logprobs.model_dump()
    return meta


def _reasoning(choice: Any, before: str = "") -> dict[str, str]:
    """What servers of reasoning models tell apart from the answer, behind the pieces before."""
    said = getattr(choice, "message", None) or getattr(choice, "delta", None)
    thoughts = getattr(said, "reasoning_content", None)
    return {"reasoning_content": before + thoughts} if thoughts else {}


def _counts(usage: Any) -> dict[str, int]:
    if usage is None:
        return token_counts(0, 0)
    details = getattr(usage, "prompt_tokens_details", None)
    cached = details.cached_tokens if details is not None else 0
    return token_counts(usage.prompt_tokens, usage.completion_tokens, cached)
