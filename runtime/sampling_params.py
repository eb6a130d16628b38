"""How one request samples, stops and is constrained.

Shared by the language, the HTTP layer and the scheduler, so it imports the standard library only.
Names and defaults are SGLang's; the OpenAI names are translated in ``runtime/server``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from .errors import RequestError

ConstraintKind = Literal["regex", "json_schema", "ebnf", "structural_tag", "choices", "tool_calls"]
JsonWhitespace = Literal["spaced", "compact", "flexible"]

MAX_STOP_STRINGS = 32
MAX_STOP_REGEX_LEN = 256
MAX_REASONING_END_LEN = 256
GREEDY_EPSILON = 1e-6  # a temperature below this is greedy


@dataclass(slots=True, frozen=True)
class SamplingParams:
    """Sampling, stop and constraint settings of one request.

    ``None`` means "not set". A JSON schema travels as its JSON text; ``choices`` constrains the
    output to one of the given strings, ``tool_calls`` to calls in a model's own frame (JSON text,
    see ``sglang_lang.constrained.tool_calls``). At most one of regex, json_schema, ebnf,
    structural_tag, choices and tool_calls may be set. ``stop`` strings are cut from the text unless
    ``no_stop_trim``.

    Three settings shape the constraint: it begins only after ``reasoning_end`` has been generated,
    until then any text is allowed; without ``strict`` the schema keywords that cannot be enforced
    are left out, each with a warning, instead of refused; ``json_whitespace`` spells separators
    ``", "`` and ``": "`` (spaced) or ``","`` and ``":"`` (compact), None as the server prefers.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    stop_regex: list[str] = field(default_factory=list)
    ignore_eos: bool = False
    no_stop_trim: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    regex: str | None = None
    json_schema: str | None = None
    ebnf: str | None = None
    structural_tag: str | None = None
    choices: list[str] | None = None
    tool_calls: str | None = None
    reasoning_end: str | None = None
    strict: bool = True
    json_whitespace: JsonWhitespace | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SamplingParams:
        """Settings as SGLang's clients write them.

        ``stop``, ``stop_token_ids`` and ``stop_regex`` may be single values, ``top_k`` -1 means
        all, a ``json_schema`` or ``tool_calls`` may be a dict, ``sampling_seed`` is the seed; None
        is "not set".

        Raises:
            RequestError: an unknown name, or a value that cannot be meant.
        """
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in data.items():
            if value is None:
                continue
            name = "seed" if key == "sampling_seed" else key
            if name not in known:
                raise RequestError(f"unknown sampling parameter {key!r}", param=key)
            values[name] = _from_client(name, value)
        params = cls(**values)
        params.validate()
        return params

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_EPSILON or self.top_k == 1

    @property
    def has_penalties(self) -> bool:
        return (
            self.frequency_penalty != 0.0
            or self.presence_penalty != 0.0
            or self.repetition_penalty != 1.0
        )

    @property
    def constraint(self) -> tuple[ConstraintKind, Any] | None:
        """The one constraint that is set, as (kind, value), or None."""
        given: list[tuple[ConstraintKind, Any]] = [
            (kind, value)
            for kind in get_args(ConstraintKind)
            if (value := getattr(self, kind)) is not None
        ]
        if len(given) > 1:
            names = ", ".join(kind for kind, _ in given)
            raise RequestError(f"only one constraint may be set, got {names}", param=given[1][0])
        return given[0] if given else None

    def with_changes(self, **changes: Any) -> SamplingParams:
        return replace(self, **changes)

    def validate(self, vocab_size: int | None = None) -> None:
        """Raise RequestError, naming the field, for any value out of its range."""
        self._check_types()
        self._check_ranges()
        self._check_stops()
        if vocab_size is not None:
            self._check_token_ids(vocab_size)
        _ = self.constraint  # raises when two are set
        if self.choices is not None and not (
            self.choices and all(isinstance(c, str) and c for c in self.choices)
        ):
            raise RequestError("choices must be non-empty strings", param="choices")
        self._check_constraint_settings()

    def _check_constraint_settings(self) -> None:
        end, whitespace = self.reasoning_end, self.json_whitespace
        if end is not None:
            _require(
                0 < len(end) <= MAX_REASONING_END_LEN,
                "reasoning_end",
                end,
                f"1 to {MAX_REASONING_END_LEN} characters",
            )
        if whitespace is not None and whitespace not in get_args(JsonWhitespace):
            allowed = ", ".join(get_args(JsonWhitespace))
            raise RequestError(
                f"json_whitespace must be one of {allowed}, got {whitespace!r}",
                param="json_whitespace",
            )

    def _check_types(self) -> None:
        for name in ("ignore_eos", "no_stop_trim", "skip_special_tokens", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(
                    f"{name} must be true or false, got {getattr(self, name)!r}", param=name
                )
        for name in (
            "regex",
            "json_schema",
            "ebnf",
            "structural_tag",
            "tool_calls",
            "reasoning_end",
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise RequestError(f"{name} must be a string, got {value!r}", param=name)
        for name in ("max_new_tokens", "min_new_tokens", "n", "top_k", "seed"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise RequestError(f"{name} must be an integer, got {value!r}", param=name)
        for name in (
            "temperature",
            "top_p",
            "min_p",
            "frequency_penalty",
            "presence_penalty",
            "repetition_penalty",
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
                raise RequestError(f"{name} must be a number, got {value!r}", param=name)

    def _check_ranges(self) -> None:
        _require(self.max_new_tokens >= 0, "max_new_tokens", self.max_new_tokens, "at least 0")
        _require(
            0 <= self.min_new_tokens <= max(self.max_new_tokens, 0),
            "min_new_tokens",
            self.min_new_tokens,
            f"between 0 and max_new_tokens ({self.max_new_tokens})",
        )
        _require(1 <= self.n <= 1024, "n", self.n, "between 1 and 1024")
        _require(0.0 <= self.temperature <= 100.0, "temperature", self.temperature, "in [0, 100]")
        _require(0.0 < self.top_p <= 1.0, "top_p", self.top_p, "in (0, 1]")
        _require(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "at least 1")
        _require(0.0 <= self.min_p <= 1.0, "min_p", self.min_p, "in [0, 1]")
        for name in ("frequency_penalty", "presence_penalty"):
            value = getattr(self, name)
            _require(-2.0 <= value <= 2.0, name, value, "in [-2, 2]")
        _require(
            0.0 < self.repetition_penalty <= 2.0,
            "repetition_penalty",
            self.repetition_penalty,
            "in (0, 2]",
        )

    def _check_stops(self) -> None:
        for name in ("stop", "stop_regex"):
            stops = getattr(self, name)
            _require(
                len(stops) <= MAX_STOP_STRINGS, name, len(stops), f"at most {MAX_STOP_STRINGS}"
            )
            if not all(isinstance(stop, str) and stop for stop in stops):
                raise RequestError(f"{name} must hold non-empty strings", param=name)
        for pattern in self.stop_regex:
            if len(pattern.encode()) > MAX_STOP_REGEX_LEN:
                raise RequestError(
                    f"a stop_regex may have at most {MAX_STOP_REGEX_LEN} bytes", param="stop_regex"
                )
            try:
                re.compile(pattern)
            except re.error as error:
                raise RequestError(
                    f"stop_regex {pattern!r} is not a valid regex: {error}", param="stop_regex"
                ) from error

    def _check_token_ids(self, vocab_size: int) -> None:
        for name, ids in (("stop_token_ids", self.stop_token_ids), ("logit_bias", self.logit_bias)):
            for token_id in ids:
                if type(token_id) is not int:
                    raise RequestError(f"{name} must hold integers, got {token_id!r}", param=name)
                _require(0 <= token_id < vocab_size, name, token_id, f"in [0, {vocab_size})")
        for token_id, bias in self.logit_bias.items():
            _require(-100.0 <= bias <= 100.0, "logit_bias", {token_id: bias}, "in [-100, 100]")


def _from_client(name: str, value: Any) -> Any:
    if name in ("stop", "stop_regex", "stop_token_ids", "choices"):
        single = str if name != "stop_token_ids" else int
        values = [value] if isinstance(value, single) else value
        if not isinstance(values, list | tuple):
            raise RequestError(f"{name} must be a list, got {value!r}", param=name)
        return list(values)
    if name == "top_k" and value in (-1, 0):
        return None
    if name in ("json_schema", "tool_calls") and not isinstance(value, str):
        return json.dumps(value)
    if name == "logit_bias":
        try:
            return {int(token_id): float(bias) for token_id, bias in value.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise RequestError(
                f"logit_bias must map token ids to numbers, got {value!r}", param=name
            ) from error
    return value


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise RequestError(f"{name} must be {allowed}, got {value!r}", param=name)
