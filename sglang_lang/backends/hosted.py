"""What hosted APIs have in common: messages instead of a template, few constraints, a price."""

from __future__ import annotations

import asyncio
import json
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..chat_template import ChatTemplate, get_chat_template
from ..choices import ChoicesDecision, ChoicesSamplingMethod
from ..errors import BackendError
from ..ir import GenOptions
from .base import BaseBackend, Completion, Prompt

MAX_CONCURRENCY = 64  # requests of one backend at one time
MAX_RETRIES = 4  # of a request, by the vendor's client: connection errors, 429 and 5xx
MAX_TRIES = 3  # answers to a constraint that the API cannot enforce
TIMEOUT_SECONDS = 600.0
# A value in an object, since the APIs only take schemas of objects.
ANSWER = "answer"
OBJECT_TOKENS = 32  # more than that object takes around the value
_JSON_TYPES = {int: "integer", float: "number", bool: "boolean"}
_NEUTRAL: Mapping[str, Any] = {"min_p": 0.0, "top_k": None, "repetition_penalty": 1.0}


class HostedBackend(BaseBackend):
    """A model that somebody else serves; every call is billed with its whole prompt.

    Args:
        model_name: as the API calls it.
        is_chat_model: it takes messages; False for one that takes text.
        chat_template: of the registry, for ``state.text()``, and for models that take text.
        max_concurrency: requests at one time; more wait here.
    """

    # Options of ``gen`` that the API has no counterpart of.
    unsupported: tuple[str, ...] = ()
    # Whether ``_complete`` can hold the model to a JSON schema.
    enforces_schemas = False

    def __init__(
        self,
        model_name: str,
        *,
        is_chat_model: bool = True,
        chat_template: str | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        self._model_name = model_name
        self._template = get_chat_template(chat_template or "default")
        self._slots = asyncio.Semaphore(max_concurrency)
        self.is_chat_model = is_chat_model

    @abstractmethod
    async def _complete(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        """One request; ``schema`` only where ``enforces_schemas``."""

    @abstractmethod
    def _stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        """One streaming request; each completion holds the text that is new."""

    @property
    def model_name(self) -> str:
        return self._model_name

    @property
    def chat_template(self) -> ChatTemplate:
        return self._template

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], open_role: str | None
    ) -> str:
        return self._template.render(messages, open_role)

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        self._check(options)
        async with self._slots:
            schema = _schema(options) if self.enforces_schemas else None
            if schema is not None:
                answers = await self._complete(prompt, _for_schema(options), schema)
                if options.dtype is not None:
                    answers = [_unwrap(answer) for answer in answers]
                return answers
            if options.regex is None and options.json_schema is None:
                return await self._complete(prompt, options, None)
            return await self._until_valid(prompt, options)

    async def generate_stream(
        self, prompt: Prompt, options: GenOptions
    ) -> AsyncIterator[Completion]:
        self._check(options)
        if options.regex is not None or options.json_schema is not None:
            # Only a whole answer can be validated, so it comes in one piece.
            yield (await self.generate(prompt, options))[0]
            return
        async with self._slots:
            finished = False
            async for piece in self._stream(prompt, options):
                finished = finished or piece.meta_info.get("finish_reason") is not None
                yield piece
        if not finished:
            raise BackendError(f"{self.model_name}: the stream ended before its end")

    async def select(
        self,
        prompt: Prompt,
        choices: Sequence[str],
        method: ChoicesSamplingMethod,
        temperature: float,
    ) -> ChoicesDecision:
        """The choice that the model takes; hosted APIs do not score text, so ``method`` has no say.

        Where the API takes a schema the choice is enforced; otherwise the answer must begin with
        one of the choices, or it is asked again.
        """
        options = GenOptions(temperature=temperature, max_tokens=_enough_tokens(choices))
        if self.enforces_schemas:
            schema = _wrap({"type": "string", "enum": list(choices)})
            async with self._slots:
                answer = _unwrap((await self._complete(prompt, options, schema))[0])
            if answer.text not in choices:
                raise BackendError(f"{self.model_name} chose {answer.text!r} of {list(choices)}")
            return ChoicesDecision(answer.text, answer.meta_info)
        longest_first = sorted(choices, key=len, reverse=True)
        pattern = r"\s*(?:" + "|".join(map(re.escape, longest_first)) + r")[\s\S]*"
        answer = (await self.generate(prompt, replace(options, regex=pattern)))[0]
        text = answer.text.lstrip()
        chosen = next(c for c in longest_first if answer.text.startswith(c) or text.startswith(c))
        return ChoicesDecision(chosen, answer.meta_info)

    async def _until_valid(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        """Ask until every answer obeys the constraint, which the API does not know of."""
        calls: list[Completion] = []
        for _ in range(MAX_TRIES):
            answers = await self._complete(prompt, _plain(options), None)
            calls += answers
            if all(_obeys(answer.text, options) for answer in answers):
                _sum_counts(calls, into=answers[0])
                return answers
        constraint = options.regex or options.json_schema
        raise BackendError(
            f"{self.model_name} cannot be constrained, and {MAX_TRIES} answers did not obey "
            f"{constraint!r}; the last was {answers[0].text!r}"
        )

    def _check(self, options: GenOptions) -> None:
        for name in ("ebnf", "structural_tag", *self.unsupported):
            value = getattr(options, name)
            if value is not None and value != _NEUTRAL.get(name):
                raise BackendError(
                    f"{type(self).__name__} has no {name}, which gen set to {value!r}"
                )


def chat_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The turns, with what is said of the open one; plain text is a user's turn."""
    messages = [dict(message) for message in prompt.messages]
    if not prompt.is_chat:
        return [{"role": "user", "content": prompt.text}]
    if prompt.role is not None and prompt.content:
        messages.append({"role": prompt.role, "content": prompt.content})
    return messages


def token_counts(
    prompt_tokens: int | None, completion_tokens: int | None, cached_tokens: int | None = None
) -> dict[str, int]:
    """The part of meta_info that ``state.usage`` adds up."""
    return {
        "prompt_tokens": prompt_tokens or 0,
        "completion_tokens": completion_tokens or 0,
        "cached_tokens": cached_tokens or 0,
    }


def _plain(options: GenOptions) -> GenOptions:
    return replace(options, regex=None, json_schema=None, dtype=None)


def _for_schema(options: GenOptions) -> GenOptions:
    """A stop would cut the object; around a typed value it takes some more tokens."""
    max_tokens = options.max_tokens
    if options.dtype is not None and max_tokens is not None:
        max_tokens += OBJECT_TOKENS
    return replace(_plain(options), stop=None, max_tokens=max_tokens)


def _schema(options: GenOptions) -> dict[str, Any] | None:
    """What to hold the model to; None where a schema cannot say it."""
    if options.json_schema is not None:
        schema: dict[str, Any] = json.loads(options.json_schema)
        return schema
    if options.dtype in _JSON_TYPES:
        return _wrap({"type": _JSON_TYPES[options.dtype]})
    return None


def _wrap(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {ANSWER: schema},
        "required": [ANSWER],
        "additionalProperties": False,
    }


def _unwrap(answer: Completion) -> Completion:
    """The value inside the object, spelled as Python spells it."""
    try:
        return Completion(str(json.loads(answer.text)[ANSWER]), answer.meta_info)
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(f"not the object that was asked for: {answer.text!r}") from error


def _obeys(text: str, options: GenOptions) -> bool:
    if options.regex is not None:
        return re.fullmatch(options.regex, text) is not None
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _sum_counts(calls: Sequence[Completion], into: Completion) -> None:
    totals: dict[str, int] = {}
    for call in calls:
        for name in ("calls", "prompt_tokens", "completion_tokens", "cached_tokens"):
            value = call.meta_info.get(name, 1 if name == "calls" else 0)
            totals[name] = totals.get(name, 0) + value
    into.meta_info.update(totals)


def _enough_tokens(choices: Sequence[str]) -> int:
    """A token is at least a byte; some more for the object around the choice."""
    return max(len(choice.encode()) for choice in choices) + OBJECT_TOKENS
