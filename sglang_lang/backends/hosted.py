"""What hosted APIs have in common: messages instead of a template, few constraints, a price."""

from __future__ import annotations

import asyncio
import re
import warnings
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ..chat_template import ChatTemplate, assumed_template, get_chat_template
from ..choices import ChoicesDecision, ChoicesSamplingMethod
from ..errors import BackendError
from ..ir import GenOptions, SglMedia
from .base import BaseBackend, Completion, PlacedMedia, Prompt
from .constraints import (
    OBJECT_TOKENS,
    for_schema,
    is_constrained,
    obeys,
    out_of_object,
    plain,
    schema_of,
    schema_of_choices,
)
from .media import frames_of

MAX_CONCURRENCY = 64  # requests of one backend at one time
MAX_RETRIES = 4  # of a request, by the vendor's client: connection errors, 429 and 5xx
MAX_TRIES = 3  # answers to a constraint that the API cannot enforce
TIMEOUT_SECONDS = 600.0
# What APIs answer to a field that they do not know or do not take from this model.
_REFUSALS = (400, 404, 422)
_CUT_OFF = ("length", "max_tokens")
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
    # Whether the API takes JSON schemas, for all that this class knows.
    takes_schemas = True

    def __init__(
        self,
        model_name: str,
        *,
        is_chat_model: bool = True,
        chat_template: str | None = None,
        max_concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        self._model_name = model_name
        # A chat API renders the turns itself, so this is for ``state.text()`` only.
        known = chat_template or ("default" if is_chat_model else None)
        self._template = get_chat_template(known) if known else None
        self._slots = asyncio.Semaphore(max_concurrency)
        self._refuses_schemas = False  # this model, as the API has told
        self.is_chat_model = is_chat_model

    @abstractmethod
    async def _complete(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        """One request; ``schema`` only where ``enforces`` says so."""

    @abstractmethod
    def _stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        """One streaming request; each completion holds the text that is new."""

    def enforces(self, prompt: Prompt, schema: dict[str, Any]) -> bool:
        """Whether ``_complete`` can hold the model to this schema after this prompt."""
        return self.takes_schemas and not self._refuses_schemas

    @property
    def model_name(self) -> str:
        return self._model_name

    @property
    def chat_template(self) -> ChatTemplate:
        if self._template is None:
            self._template = assumed_template(self.model_name, f"the API of {self.model_name}")
        return self._template

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], open_role: str | None
    ) -> str:
        return self.chat_template.render(messages, open_role)

    async def media(self, media: SglMedia) -> Sequence[SglMedia]:
        """Images as they are; of a video its frames, since few APIs take more."""
        if not self.is_chat_model:
            raise BackendError(f"{self.model_name} is a completion model, which takes no images")
        if media.kind == "image":
            return [media]
        return await asyncio.to_thread(frames_of, media)

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        self._check(options)
        async with self._slots:
            if not is_constrained(options):
                return await self._complete(prompt, options, None)
            schema = schema_of(options)
            if schema is None or not self.enforces(prompt, schema):
                return await self._until_valid(prompt, options, None)
            try:
                return await self._until_valid(prompt, options, schema)
            except BackendError as error:
                if error.status not in _REFUSALS:
                    raise
                answers = await self._until_valid(prompt, options, None)
                self._gives_up_schemas(error)  # it was the schema: without one there is an answer
                return answers

    def _gives_up_schemas(self, error: BackendError) -> None:
        self._refuses_schemas = True
        warnings.warn(
            f"{self.model_name} takes no schema ({error}); its answers are validated, and asked "
            f"for again up to {MAX_TRIES} times",
            stacklevel=2,
        )

    async def generate_stream(
        self, prompt: Prompt, options: GenOptions
    ) -> AsyncIterator[Completion]:
        self._check(options)
        if is_constrained(options):
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

        By a schema where the API takes one, else as ``_select_otherwise`` can.
        """
        schema = schema_of_choices(choices)
        if not self.enforces(prompt, schema):
            return await self._select_otherwise(prompt, choices, temperature)
        options = GenOptions(temperature=temperature, max_tokens=_enough_tokens(choices))
        try:
            async with self._slots:
                answer = out_of_object((await self._complete(prompt, options, schema))[0])
        except BackendError as error:
            if error.status not in _REFUSALS:
                raise
            decision = await self._select_otherwise(prompt, choices, temperature)
            self._gives_up_schemas(error)
            return decision
        if answer.text not in choices:
            raise BackendError(f"{self.model_name} chose {answer.text!r} of {list(choices)}")
        return ChoicesDecision(answer.text, answer.meta_info)

    async def _select_otherwise(
        self, prompt: Prompt, choices: Sequence[str], temperature: float
    ) -> ChoicesDecision:
        """The choice that the model's own text begins with; asked for again if there is none."""
        longest_first = sorted(choices, key=len, reverse=True)
        options = GenOptions(
            temperature=temperature,
            max_tokens=_enough_tokens(choices),
            regex=r"\s*(?:" + "|".join(map(re.escape, longest_first)) + r")[\s\S]*",
        )
        answer = (await self.generate(prompt, options))[0]
        text = answer.text.lstrip()
        chosen = next(c for c in longest_first if answer.text.startswith(c) or text.startswith(c))
        return ChoicesDecision(chosen, answer.meta_info)

    async def _until_valid(
        self, prompt: Prompt, options: GenOptions, schema: dict[str, Any] | None
    ) -> list[Completion]:
        """Ask until every answer obeys; with a schema the API should see to that at once."""
        asked = plain(options) if schema is None else for_schema(options)
        typed = schema is not None and options.dtype is not None
        calls: list[Completion] = []
        for tries in range(1, MAX_TRIES + 1):
            answers = await self._complete(prompt, asked, schema)
            calls += answers
            if schema is not None and any(map(_is_cut_off, answers)):
                return answers
            if typed:
                answers = [out_of_object(answer) for answer in answers]
            if typed or all(obeys(answer.text, options) for answer in answers):
                sum_counts([call.meta_info for call in calls], answers[0].meta_info)
                by = "validation" if schema is None else "schema"
                answers[0].meta_info["constraint"] = {"by": by, "tries": tries}
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
    """The turns, with what is said of the open one; plain text is a user's turn.

    The content of a turn with images is a list of its texts and images, in their order.
    """
    messages = [dict(message) for message in prompt.messages]
    if not prompt.is_chat:
        messages = [{"role": "user", "content": prompt.text}]
    elif prompt.role is not None and prompt.content:
        messages.append({"role": prompt.role, "content": prompt.content})
    for turn, message in enumerate(messages):
        placed = [one for one in prompt.media if one.turn == turn]
        if placed:
            message["content"] = _parts(message["content"], placed)
    return messages


def _parts(text: str, placed: Sequence[PlacedMedia]) -> list[str | SglMedia]:
    parts: list[str | SglMedia] = []
    told = 0
    for one in placed:
        parts += [text[told : one.offset], one.media]
        told = one.offset
    return [part for part in [*parts, text[told:]] if part]


def token_counts(
    prompt_tokens: int | None, completion_tokens: int | None, cached_tokens: int | None = None
) -> dict[str, int]:
    """The part of meta_info that ``state.usage`` adds up."""
    return {
        "prompt_tokens": prompt_tokens or 0,
        "completion_tokens": completion_tokens or 0,
        "cached_tokens": cached_tokens or 0,
    }


def sum_counts(metas: Sequence[Mapping[str, Any]], into: dict[str, Any]) -> None:
    """What several calls cost, as the meta_info of one."""
    totals = dict.fromkeys(("calls", "prompt_tokens", "completion_tokens", "cached_tokens"), 0)
    for meta in metas:
        for name in totals:
            totals[name] += meta.get(name, 1 if name == "calls" else 0)
    into.update(totals)


def _is_cut_off(answer: Completion) -> bool:
    return answer.meta_info.get("finish_reason", {}).get("type") in _CUT_OFF


def _enough_tokens(choices: Sequence[str]) -> int:
    """A token is at least a byte; some more for the object around the choice."""
    return max(len(choice.encode()) for choice in choices) + OBJECT_TOKENS
