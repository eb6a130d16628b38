"""What completions, chat completions and responses share: OpenAI's sampling fields, constraints."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from ...errors import RequestError
from ...sampling_params import SamplingParams
from ..bodies import body_of, decode, namespace

# Renamed or removed elsewhere; taking them silently would return unconstrained text with a 200.
RENAMED = {
    "guided_json": "json_schema or response_format",
    "guided_regex": "regex",
    "guided_choice": "choices",
    "guided_grammar": "ebnf",
    "structured_outputs": "response_format, regex, choices or ebnf",
    "functions": "tools",
    "function_call": "tool_choice",
}
UNSERVED = (
    "lora_path",
    "custom_logit_processor",
    "return_hidden_states",
    "session_params",
    "prompt_embeds",
    "use_beam_search",
    "bad_words",
    "allowed_token_ids",
    "prompt_logprobs",
    "audio",
    "prediction",
    "web_search_options",
)
_CONSTRAINING = re.compile(r"guided|grammar|regex|schema|constrain|structur|json|ebnf|choice")
B = TypeVar("B", bound="SamplingBody")


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
    format: Any = None
    structures: Any = None
    triggers: Any = None

    def constraint(self) -> dict[str, Any]:
        """The sampling parameters it stands for."""
        match self.type:
            case "text":
                return {}
            case "json_object":
                return {"json_schema": '{"type": "object"}'}
            case "json_schema":
                return self._json_schema()
            case "structural_tag":
                return {"structural_tag": self._structural_tag()}
        raise RequestError(
            "response_format.type must be text, json_object, json_schema or structural_tag, got "
            f"{self.type!r}",
            param="response_format.type",
        )

    def _json_schema(self) -> dict[str, Any]:
        if self.json_schema is None or self.json_schema.schema is None:
            raise RequestError(
                "response_format of type json_schema needs json_schema.schema",
                param="response_format.json_schema.schema",
            )
        strict = self.json_schema.strict is not False
        return {"json_schema": json.dumps(self.json_schema.schema), "strict": strict}

    def _structural_tag(self) -> str:
        if self.format is not None:
            return json.dumps({"type": "structural_tag", "format": self.format})
        return json.dumps({"structures": self.structures, "triggers": self.triggers})


class SamplingBody(msgspec.Struct, kw_only=True):
    """The fields of all request kinds; None is OpenAI's "not set"."""

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
    metadata: dict[str, str] | None = None
    response_format: ResponseFormat | None = None
    # --- extensions, named as SGLang and vLLM name them
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    stop_token_ids: list[int] | None = None
    stop_regex: str | list[str] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    include_stop_str_in_output: bool | None = None
    regex: str | None = None
    json_schema: dict[str, Any] | bool | str | None = None
    ebnf: str | None = None
    choices: list[str] | None = None
    structural_tag: dict[str, Any] | str | None = None
    rid: str | None = None
    priority: int | None = None
    extra_key: str | None = None
    cache_salt: str | None = None
    return_token_ids: bool | None = None
    return_cached_tokens_details: bool | None = None

    def token_limit(self) -> tuple[int | None, str]:
        """The most output tokens, None where the client says nothing, and what it calls them."""
        raise NotImplementedError

    def check_whole(self, *names: str) -> None:
        """RequestError for fields that say what is returned, and that a stream does not return."""
        for name in (*names, "return_cached_tokens_details"):
            if self.stream and getattr(self, name):
                raise RequestError(f"{name} needs stream: false", param=name)

    def sampling_params(self, max_tokens: int) -> SamplingParams:
        """To our own parameters, with at most ``max_tokens`` output tokens.

        Raises:
            RequestError: a value is out of range; its field is named as the client named it.
        """
        values = {name: getattr(self, name) for name in _SAME_NAMES} | {
            "max_new_tokens": max_tokens,
            "min_new_tokens": self.min_tokens,
            "no_stop_trim": self.no_stop_trim or self.include_stop_str_in_output,
        }
        if isinstance(self.structural_tag, dict):
            values["structural_tag"] = json.dumps(self.structural_tag)
        try:
            if self.response_format is not None:
                values |= self._response_format(self.response_format, values)
            return SamplingParams.from_dict(values)
        except RequestError as error:
            raise self._in_clients_words(error) from error

    def param_names(self) -> dict[str, str]:
        """Our sampling parameters that the client knows by other names."""
        names = {"max_new_tokens": self.token_limit()[1], "min_new_tokens": "min_tokens"}
        names["tool_calls"] = "tools"
        if self.response_format is not None:
            kinds = ("json_schema", "structural_tag", "ebnf")
            names |= dict.fromkeys(kinds, "response_format")
        return names

    @property
    def namespace(self) -> str | None:
        return namespace(self.extra_key, self.cache_salt)

    def _response_format(self, wanted: ResponseFormat, values: dict[str, Any]) -> dict[str, Any]:
        found = wanted.constraint()
        others = [name for name in _CONSTRAINTS if values[name] is not None]
        if found and others:
            raise RequestError(f"response_format excludes {others[0]}", param="response_format")
        return found

    def _in_clients_words(self, error: RequestError) -> RequestError:
        ours = error.param or ""
        theirs = self.param_names().get(ours, ours)
        message = error.message.replace(ours, theirs) if ours else error.message
        return RequestError(message, param=theirs or None, status=error.status, code=error.code)


_CONSTRAINTS = ("regex", "json_schema", "ebnf", "choices", "structural_tag")
_SAME_NAMES = (
    *_CONSTRAINTS,
    "n",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "stop",
    "stop_token_ids",
    "stop_regex",
    "ignore_eos",
    "skip_special_tokens",
)


async def read_sampling(request: Request, kind: type[B]) -> B:
    """Decode a request's body; see ``decode_sampling``."""
    return decode_sampling(await body_of(request), kind)


def decode_sampling(data: bytes, kind: type[B]) -> B:
    """JSON text to one of the request kinds.

    Unknown fields are left out of account, as clients and routers send many. Those that would
    change what is generated or returned are refused: an answer without them is not what was
    asked for.

    Raises:
        RequestError: names the field.
    """
    body = decode(data, kind)
    given: dict[str, msgspec.Raw] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    for name in given.keys() - set(kind.__struct_fields__):
        value = bytes(given[name])
        if name in RENAMED and value != b"null":
            raise RequestError(f"{name} is not supported: use {RENAMED[name]}", param=name)
        if value in _NOT_SET:
            continue
        if name in UNSERVED:
            raise RequestError(f"{name} is not supported by this server", param=name)
        if name.startswith("return_"):
            raise RequestError(f"{name} is not supported here", param=name)
        if _CONSTRAINING.search(name):
            raise RequestError(f"unknown field {name!r}: it looks like a constraint", param=name)
    if body.stream_options is not None and not body.stream:
        raise RequestError("stream_options needs stream to be true", param="stream_options")
    return body


_NOT_SET = (b"null", b"false", b"[]", b"{}", b'""')
