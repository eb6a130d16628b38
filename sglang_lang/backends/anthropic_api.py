"""Claude models behind Anthropic's API."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from ..background import wait_for
from ..errors import BackendError
from ..extras import needs
from ..ir import GenOptions, SglMedia
from .base import Completion, Prompt
from .constraints import ANSWER, is_closed
from .hosted import (
    MAX_CONCURRENCY,
    MAX_RETRIES,
    TIMEOUT_SECONDS,
    HostedBackend,
    chat_messages,
    token_counts,
)
from .media import image_bytes

with needs("anthropic"):
    import anthropic


class Anthropic(HostedBackend):
    """A model of Anthropic's API, held to JSON schemas, choices and the dtypes int, float and bool.

    A closed schema goes as output_config, another one as the input of a tool that must be called.
    A regex, and anything that goes on an assistant's turn already begun, is validated and asked
    for again if it fails.

    Args:
        model_name: as the API calls it.
        max_concurrency: requests at one time.
        max_retries: of a request, by the client; it obeys Retry-After.
        client_args: of the official client: ``api_key`` (else ANTHROPIC_API_KEY), ``base_url``,
            ``timeout``, ...

    Raises:
        BackendError: there is no key; the message names the variable.
    """

    unsupported = (
        *("min_p", "min_tokens", "repetition_penalty", "frequency_penalty", "presence_penalty"),
        *("ignore_eos", "stop_token_ids", "stop_regex", "seed", "logit_bias", "return_logprob"),
        *("logprob_start_len", "top_logprobs_num"),
    )

    def __init__(
        self,
        model_name: str,
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        max_retries: int = MAX_RETRIES,
        **client_args: Any,
    ) -> None:
        super().__init__(model_name, chat_template="default", max_concurrency=max_concurrency)
        self._client = anthropic.AsyncAnthropic(
            max_retries=max_retries, **{"timeout": TIMEOUT_SECONDS, **client_args}
        )
        if self._client.api_key is None and self._client.auth_token is None:
            raise BackendError("no client: set ANTHROPIC_API_KEY, or pass api_key=")

    def enforces(self, prompt: Prompt, schema: dict[str, Any]) -> bool:
        is_begun = prompt.role == "assistant" and bool(prompt.content)
        is_object = schema.get("type") == "object"
        return super().enforces(prompt, schema) and is_object and not is_begun

    def shutdown(self) -> None:
        wait_for(self._client.close())

    async def _complete(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        request = _request(self.model_name, prompt, options) | _constraint(schema)
        answers = []
        for _ in range(options.n or 1):  # the API has no n
            with _errors_told():
                message = await self._client.messages.create(**request)
            answers.append(Completion(_text(message), _meta(message)))
        return answers

    async def _stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        with _errors_told():
            async with self._client.messages.stream(
                **_request(self.model_name, prompt, options)
            ) as stream:
                async for text in stream.text_stream:
                    yield Completion(text)
                yield Completion("", _meta(await stream.get_final_message()))


@contextmanager
def _errors_told() -> Iterator[None]:
    """The client's errors as BackendError, after the client's own retries."""
    try:
        yield
    except anthropic.APIStatusError as error:
        raise BackendError(f"the API refused: {error.message}", status=error.status_code) from error
    except anthropic.AnthropicError as error:
        raise BackendError(f"the API failed: {error}") from error


def _request(model_name: str, prompt: Prompt, options: GenOptions) -> dict[str, Any]:
    messages = chat_messages(prompt)
    system = "\n\n".join(turn["content"] for turn in messages if turn["role"] == "system")
    turns = [turn for turn in messages if turn["role"] != "system"]
    request: dict[str, Any] = {
        "model": model_name,
        "messages": _with_media(turns, prompt.media),
        "max_tokens": options.max_tokens,
    }
    if system:
        request["system"] = system
    if stops := options.stops():
        request["stop_sequences"] = stops
    # Newer models refuse these, so the client does not name them; 1 is the API's own default.
    sampling = {
        name: value
        for name in ("temperature", "top_p", "top_k")
        if (value := getattr(options, name)) not in (None, 1.0)
    }
    if sampling:
        request["extra_body"] = sampling
    return request


def _constraint(schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {}
    if is_closed(schema):
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    tool = {"name": ANSWER, "description": "Takes the answer.", "input_schema": schema}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": ANSWER}}


def _text(message: Any) -> str:
    """What is said, or handed to the tool that takes the answer."""
    for block in message.content:
        if block.type == "tool_use":
            return json.dumps(block.input)
    return "".join(block.text for block in message.content if block.type == "text")


def _with_media(turns: list[dict[str, Any]], media: list[SglMedia]) -> list[dict[str, Any]]:
    """Images become parts of the last user turn."""
    if not media:
        return turns
    turn = next(turn for turn in reversed(turns) if turn["role"] == "user")
    turn["content"] = [{"type": "text", "text": turn["content"]}, *map(_image, media)]
    return turns


def _image(media: SglMedia) -> dict[str, Any]:
    if isinstance(media.source, str) and media.source.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": media.source}}
    kind, content = image_bytes(media)
    data = base64.b64encode(content).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _meta(message: Any) -> dict[str, Any]:
    usage = message.usage
    cached = getattr(usage, "cache_read_input_tokens", None) or 0
    # Tokens read from the cache are not in input_tokens.
    counts = token_counts(usage.input_tokens + cached, usage.output_tokens, cached)
    reason = "length" if message.stop_reason == "max_tokens" else message.stop_reason
    return {"id": message.id, "finish_reason": {"type": reason}, **counts}
