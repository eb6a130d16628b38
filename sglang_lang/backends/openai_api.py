"""Models behind the OpenAI API, at OpenAI, at Azure or at any server that speaks it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ..background import wait_for
from ..choices import ChoicesDecision
from ..errors import BackendError
from ..extras import needs
from ..ir import GenOptions
from .base import Completion, Prompt
from .hosted import MAX_CONCURRENCY, MAX_RETRIES, TIMEOUT_SECONDS, HostedBackend, sum_counts
from .openai_format import chat_request, completion_request, completions_of, piece_of
from .token_choice import Encoding, choose

with needs("openai"):
    import openai

CRUSOE_URL = "https://api.inference.crusoecloud.com/v1"
COMPLETION_MODELS = ("davinci-002", "babbage-002", "gpt-3.5-turbo-instruct")


class OpenAI(HostedBackend):
    """A model of the OpenAI API, chat or completion.

    Chat models are held to JSON schemas, to choices and to the dtypes int, float and bool. A
    regex, and any constraint of a completion model, is validated and asked for again if it fails.
    Where the API takes no schema, choices are held to by logit_bias, with the model's tokenizer.

    Args:
        model_name: as the API calls it; at Azure the deployment.
        is_chat_model: None decides by the name.
        chat_template: of the registry, for ``state.text()`` and for completion models.
        is_azure: take ``AsyncAzureOpenAI``, with ``azure_endpoint`` and ``api_version``.
        max_concurrency: requests at one time.
        max_retries: of a request, by the client; it obeys Retry-After.
        encoding: the model's tokenizer, as tiktoken's; by the model's name when None.
        extra_body: more fields of every request, for servers that take more than OpenAI.
        client_args: of the official client: ``api_key`` (else OPENAI_API_KEY), ``base_url``,
            ``organization``, ``timeout``, ...

    Raises:
        BackendError: there is no key; the message names the variable.
    """

    unsupported = (
        *("top_k", "min_p", "min_tokens", "repetition_penalty", "ignore_eos"),
        *("stop_token_ids", "stop_regex", "logprob_start_len"),
    )

    def __init__(
        self,
        model_name: str,
        is_chat_model: bool | None = None,
        chat_template: str | None = None,
        is_azure: bool = False,
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        max_retries: int = MAX_RETRIES,
        encoding: Encoding | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **client_args: Any,
    ) -> None:
        if is_chat_model is None:
            is_chat_model = model_name not in COMPLETION_MODELS
        super().__init__(
            model_name,
            is_chat_model=is_chat_model,
            chat_template=chat_template,
            max_concurrency=max_concurrency,
        )
        self.takes_schemas = is_chat_model
        self._encoding = encoding
        self._fixed: dict[str, Any] = {"model": model_name}
        if extra_body:
            self._fixed["extra_body"] = dict(extra_body)
        make: Any = openai.AsyncAzureOpenAI if is_azure else openai.AsyncOpenAI
        try:
            self._client = make(
                max_retries=max_retries, **{"timeout": TIMEOUT_SECONDS, **client_args}
            )
        except openai.OpenAIError as error:
            key = "AZURE_OPENAI_API_KEY" if is_azure else "OPENAI_API_KEY"
            raise BackendError(f"no client: set {key}, or pass api_key= ({error})") from error
        chat, text = self._client.chat.completions, self._client.completions
        self._endpoint = chat if is_chat_model else text

    def shutdown(self) -> None:
        wait_for(self._client.close())

    async def _select_otherwise(
        self, prompt: Prompt, choices: Sequence[str], temperature: float
    ) -> ChoicesDecision:
        """Token by token, each held to those of the choices."""
        metas: list[dict[str, Any]] = []

        async def ask(written: str, bias: Mapping[int, float]) -> str:
            options = GenOptions(max_tokens=1, temperature=temperature, logit_bias=bias)
            longer = replace(prompt, text=prompt.text + written, content=prompt.content + written)
            async with self._slots:
                answer = (await self._complete(longer, options, None))[0]
            metas.append(answer.meta_info)
            return answer.text

        chosen = await choose(self._tokenizer(), choices, ask)
        meta: dict[str, Any] = {"finish_reason": {"type": "stop"}}
        sum_counts(metas, meta)
        return ChoicesDecision(chosen, meta)

    def _tokenizer(self) -> Encoding:
        if self._encoding is None:
            with needs("openai"):
                import tiktoken
            try:
                self._encoding = tiktoken.encoding_for_model(self.model_name)
            except (KeyError, OSError) as error:
                raise BackendError(
                    f"select on {self.model_name} goes by logit_bias and needs its tokenizer, "
                    f"which tiktoken does not give ({error}); pass encoding="
                ) from error
        return self._encoding

    async def count_tokens(self, text: str) -> int:
        return len(self._tokenizer().encode(text))

    async def _complete(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        request = self._request(prompt, options, schema)
        with _errors_told():
            return completions_of(await self._endpoint.create(**request))

    async def _stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        request = self._request(prompt, options, None)
        request |= {"stream": True, "stream_options": {"include_usage": True}}
        piece = Completion("")
        with _errors_told():
            async with await self._endpoint.create(**request) as stream:
                async for chunk in stream:
                    piece = piece_of(chunk, piece.meta_info)
                    yield piece

    def _request(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> dict[str, Any]:
        if self.is_chat_model:
            return {**self._fixed, **chat_request(prompt, options, schema)}
        return {**self._fixed, **completion_request(prompt, options)}


class Crusoe(OpenAI):
    """A model of Crusoe Cloud's managed inference, which speaks the OpenAI API.

    Args:
        model_name: as Crusoe calls it.
        options: of ``OpenAI``; ``api_key`` else comes from CRUSOE_API_KEY.

    Raises:
        BackendError: there is no key.
    """

    def __init__(self, model_name: str, **options: Any) -> None:
        key = options.pop("api_key", None) or os.environ.get("CRUSOE_API_KEY")
        if not key:
            raise BackendError("no client: set CRUSOE_API_KEY, or pass api_key=")
        options.setdefault("base_url", CRUSOE_URL)
        super().__init__(model_name, api_key=key, **options)


@contextmanager
def _errors_told() -> Iterator[None]:
    """The client's errors as BackendError, after the client's own retries."""
    try:
        yield
    except openai.APIStatusError as error:
        wait = error.response.headers.get("Retry-After", "")
        raise BackendError(
            f"the API refused: {error.message}",
            status=error.status_code,
            retry_after=float(wait) if wait.isdigit() else None,
        ) from error
    except openai.OpenAIError as error:
        raise BackendError(f"the API failed: {error}") from error
