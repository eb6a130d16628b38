"""Gemini models, at Vertex AI or behind the Gemini API, by the google-genai package."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

from ..background import wait_for
from ..errors import BackendError
from ..extras import needs
from ..ir import GenOptions, SglMedia
from .base import Completion, Prompt
from .hosted import (
    MAX_CONCURRENCY,
    MAX_RETRIES,
    TIMEOUT_SECONDS,
    HostedBackend,
    chat_messages,
    token_counts,
)
from .media import image_bytes

with needs("vertexai"):
    from google import genai
    from google.genai import errors, types

# google-genai sends by aiohttp where it finds it, else by httpx2, or by httpx in older versions.
_HTTP_CLIENTS = {"aiohttp": "ClientError", "httpx2": "HTTPError", "httpx": "HTTPError"}
_FINISHES = {"STOP": "stop", "MAX_TOKENS": "length"}


class VertexAI(HostedBackend):
    """A Gemini model, held to JSON schemas, to choices and to the dtypes int, float and bool.

    A regex is validated, and asked for again if it fails.

    Args:
        model_name: as the API calls it.
        safety_settings: of every request, as google-genai takes them.
        max_concurrency: requests at one time.
        max_retries: of a request, by the client: timeouts, 429 and 5xx.
        http_options: of the client, such as ``base_url`` and ``timeout`` (milliseconds).
        client_args: of ``genai.Client``: ``project`` and ``location`` (else GOOGLE_CLOUD_PROJECT
            and GOOGLE_CLOUD_LOCATION), or ``api_key`` (else GOOGLE_API_KEY); ``vertexai=False``
            for the Gemini API.

    Raises:
        BackendError: there is neither a project nor a key; the message names the variables.
    """

    unsupported = (
        *("min_p", "min_tokens", "repetition_penalty", "ignore_eos", "stop_token_ids"),
        *("stop_regex", "logit_bias", "logprob_start_len"),
    )

    def __init__(
        self,
        model_name: str,
        safety_settings: Sequence[Any] | None = None,
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        max_retries: int = MAX_RETRIES,
        http_options: Mapping[str, Any] | None = None,
        **client_args: Any,
    ) -> None:
        super().__init__(model_name, max_concurrency=max_concurrency)
        self._safety_settings = list(safety_settings) if safety_settings else None
        options = {
            "timeout": int(TIMEOUT_SECONDS * 1000),
            "retry_options": types.HttpRetryOptions(attempts=max_retries + 1),
            **(http_options or {}),
        }
        try:
            self._client = genai.Client(
                **{"vertexai": True, "http_options": types.HttpOptions(**options), **client_args}
            )
        except Exception as error:  # ValueError, or of google.auth where there are no credentials
            raise BackendError(
                "no client: set GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION, or "
                f"GOOGLE_API_KEY, or pass project= and location=, or api_key= ({error})"
            ) from error

    def shutdown(self) -> None:
        wait_for(self._client.aio.aclose())
        self._client.close()

    async def _complete(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        with _errors_told():
            answer = await self._client.aio.models.generate_content(
                **self._request(prompt, options, schema)
            )
        if not answer.candidates:
            raise BackendError(f"the model did not answer: {answer.prompt_feedback}")
        completions = [
            Completion(_text(candidate), {**_ending(candidate), "calls": 0})
            for candidate in answer.candidates
        ]
        completions[0].meta_info |= {**_counts(answer), "id": answer.response_id, "calls": 1}
        return completions

    async def _stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        meta: dict[str, Any] = {}
        with _errors_told():
            stream = await self._client.aio.models.generate_content_stream(
                **self._request(prompt, options, None)
            )
            async for chunk in stream:
                text = ""
                if chunk.candidates:
                    text = _text(chunk.candidates[0])
                    if chunk.candidates[0].finish_reason:
                        meta |= _ending(chunk.candidates[0])
                if chunk.usage_metadata:
                    meta |= _counts(chunk)
                yield Completion(text, dict(meta))

    def _request(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> dict[str, Any]:
        messages = chat_messages(prompt)
        system = [turn["content"] for turn in messages if turn["role"] == "system"]
        config: dict[str, Any] = {
            "max_output_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": options.top_k,
            "candidate_count": options.n,
            "frequency_penalty": options.frequency_penalty,
            "presence_penalty": options.presence_penalty,
            "seed": options.seed,
            "stop_sequences": options.stops() or None,
            "system_instruction": "\n\n".join(system) or None,
            "safety_settings": self._safety_settings,
        }
        if options.return_logprob or options.top_logprobs_num:
            config |= {"response_logprobs": True, "logprobs": options.top_logprobs_num or None}
        if schema is not None:
            config |= {"response_mime_type": "application/json", "response_json_schema": schema}
        given = {name: value for name, value in config.items() if value is not None}
        return {
            "model": self.model_name,
            "contents": [_content(turn) for turn in messages if turn["role"] != "system"],
            "config": types.GenerateContentConfig(**given),
        }


@cache
def _transport_errors() -> tuple[type[Exception], ...]:
    """What the HTTP clients that are installed raise when a connection fails."""
    found: list[type[Exception]] = [OSError, ValueError]
    for module, name in _HTTP_CLIENTS.items():
        with suppress(ModuleNotFoundError):
            found.append(getattr(import_module(module), name))
    return tuple(found)


@contextmanager
def _errors_told() -> Iterator[None]:
    """The client's errors as BackendError, after the client's own retries."""
    try:
        yield
    except errors.APIError as error:
        raise BackendError(f"the API refused: {error.message}", status=error.code) from error
    except _transport_errors() as error:
        raise BackendError(f"the API failed: {error!r}") from error


def _content(turn: dict[str, Any]) -> types.Content:
    content = turn["content"]
    parts = [
        types.Part(text=part) if isinstance(part, str) else _image(part)
        for part in ([content] if isinstance(content, str) else content)
    ]
    return types.Content(role="model" if turn["role"] == "assistant" else "user", parts=parts)


def _image(media: SglMedia) -> types.Part:
    if isinstance(media.source, str) and media.source.startswith(("http://", "https://", "gs://")):
        return types.Part.from_uri(file_uri=media.source)
    kind, content = image_bytes(media)
    return types.Part.from_bytes(data=content, mime_type=kind)


def _text(candidate: Any) -> str:
    parts = candidate.content.parts if candidate.content else None
    return "".join(part.text or "" for part in parts or () if not part.thought)


def _ending(candidate: Any) -> dict[str, Any]:
    reason = candidate.finish_reason.name if candidate.finish_reason else "STOP"
    meta: dict[str, Any] = {"finish_reason": {"type": _FINISHES.get(reason, reason.lower())}}
    if candidate.logprobs_result is not None:
        meta["logprobs"] = candidate.logprobs_result.model_dump()
    return meta


def _counts(answer: Any) -> dict[str, int]:
    usage = answer.usage_metadata
    if usage is None:
        return token_counts(0, 0)
    written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    return token_counts(usage.prompt_token_count, written, usage.cached_content_token_count)
