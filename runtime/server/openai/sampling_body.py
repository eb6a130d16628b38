"""What completions and chat completions share: OpenAI's sampling fields and constraints."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ...errors import RequestError
from ...sampling_params import SamplingParams
from ..bodies import namespace

# Renamed or removed elsewhere; taking them silently would return unconstrained text with a 200.
RENAMED = {
    "guided_json": "json_schema or response_format",
    "guided_regex": "regex",
    "guided_choice": "choices",
    "guided_grammar": "ebnf",
    "structured_outputs": "response_format, regex, choices or ebnf",
}


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchemaFormat(msgspec.Struct):
    name: str = "schema"
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchemaFormat | None = None


class SamplingBody(msgspec.Struct, kw_only=True):
    """The fields of both request kinds; None is OpenAI's "not set"."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    user: str | None = None
    response_format: ResponseFormat | None = None
    # --- extensions, named as SGLang and vLLM name them
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    regex: str | None = None
    json_schema: dict[str, Any] | bool | str | None = None
    ebnf: str | None = None
    choices: list[str] | None = None
    structural_tag: str | None = None
    rid: str | None = None
    priority: int | None = None
    extra_key: str | None = None
    cache_salt: str | None = None
    guided_json: Any = None
    guided_regex: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    structured_outputs: Any = None

    def sampling_params(self, max_tokens: int, max_name: str) -> SamplingParams:
        """To our own parameters; ``max_name`` is what the client called its token limit."""
        for name, instead in RENAMED.items():
            if getattr(self, name) is not None:
                raise RequestError(f"{name} is not supported: use {instead}", param=name)
        values: dict[str, Any] = {
            "max_new_tokens": max_tokens,
            "min_new_tokens": self.min_tokens,
            "n": self.n,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "seed": self.seed,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "logit_bias": self.logit_bias,
            "stop": self.stop,
            "stop_token_ids": self.stop_token_ids,
            "ignore_eos": self.ignore_eos,
            "skip_special_tokens": self.skip_special_tokens,
            "no_stop_trim": self.no_stop_trim,
            "regex": self.regex,
            "json_schema": self.json_schema,
            "ebnf": self.ebnf,
            "choices": self.choices,
            "structural_tag": self.structural_tag,
            **self._from_response_format(),
        }
        if max_tokens < 0:
            raise RequestError(f"{max_name} must be at least 0, got {max_tokens}", param=max_name)
        return SamplingParams.from_dict(values)

    def _from_response_format(self) -> dict[str, Any]:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return {}
        if self.json_schema is not None or self.regex is not None or self.ebnf is not None:
            raise RequestError(
                "response_format excludes regex, ebnf and json_schema", param="response_format"
            )
        if wanted.type == "json_object":
            return {"json_schema": '{"type": "object"}'}
        if wanted.type == "json_schema":
            if wanted.json_schema is None or wanted.json_schema.schema is None:
                raise RequestError(
                    "response_format of type json_schema needs json_schema.schema",
                    param="response_format.json_schema.schema",
                )
            return {"json_schema": json.dumps(wanted.json_schema.schema)}
        raise RequestError(
            f"response_format.type must be text, json_object or json_schema, got {wanted.type!r}",
            param="response_format.type",
        )

    @property
    def namespace(self) -> str | None:
        return namespace(self.extra_key, self.cache_salt)
