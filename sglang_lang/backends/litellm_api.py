"""Whatever the litellm package reaches, under its model names ("bedrock/...", "gemini/...")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import BackendError
from ..extras import needs
from ..ir import GenOptions
from .base import Completion, Prompt
from .hosted import MAX_CONCURRENCY, MAX_RETRIES, TIMEOUT_SECONDS, HostedBackend
from .openai_format import chat_request, completions_of, piece_of

with needs("litellm"):
    import litellm
    import openai


class LiteLLM(HostedBackend):
    """A chat model by litellm, held to JSON schemas and choices where litellm knows that it can be.

    Other constraints are validated, and asked for again if they fail.

    Args:
        model_name: provider and model, as litellm names them.
        chat_template: of the registry, for ``state.text()``.
        max_concurrency: requests at one time.
        max_retries: of a request, by litellm.
        request_args: of every ``litellm.acompletion``: ``api_key`` (else the provider's own
            variable), ``api_base``, ``timeout``, ...

    Raises:
        BackendError: the provider's key is missing; the message names its variable.
    """

    unsupported = (
        *("top_k", "min_p", "min_tokens", "repetition_penalty", "ignore_eos"),
        *("stop_token_ids", "stop_regex", "logprob_start_len"),
    )

    def __init__(
        self,
        model_name: str,
        chat_template: str | None = None,
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        max_retries: int = MAX_RETRIES,
        **request_args: Any,
    ) -> None:
        super().__init__(model_name, chat_template=chat_template, max_concurrency=max_concurrency)
        if "api_key" not in request_args and "api_base" not in request_args:
            missing = litellm.validate_environment(model_name)["missing_keys"]
            if missing:
                raise BackendError(f"no client: set {' and '.join(missing)}, or pass api_key=")
        self.takes_schemas = litellm.supports_response_schema(model_name)
        self._fixed = {
            "model": model_name,
            "num_retries": max_retries,
            "timeout": TIMEOUT_SECONDS,
            **request_args,
        }

    async def _complete(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        with _errors_told():
            return completions_of(
                await litellm.acompletion(**self._fixed, **chat_request(prompt, options, schema))
            )

    async def _stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        piece = Completion("")
        with _errors_told():
            stream = await litellm.acompletion(
                **self._fixed,
                **chat_request(prompt, options),
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                piece = piece_of(chunk, piece.meta_info)
                yield piece


@contextmanager
def _errors_told() -> Iterator[None]:
    """litellm's errors, which are all of the openai package's kinds, as BackendError."""
    try:
        yield
    except (litellm.exceptions.APIError, openai.APIStatusError) as error:
        raise BackendError(f"the API refused: {error}", status=error.status_code) from error
    except openai.OpenAIError as error:
        raise BackendError(f"the API failed: {error}") from error
