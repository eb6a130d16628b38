"""Lets a hosted model write ahead of the program, so that one call serves several ``gen``.

Hosted APIs bill the whole prompt of every call. A ``gen`` is therefore asked for without its
stops; what lies behind the first stop is kept, and serves the text and the ``gen`` that come
next as long as it spells what the program adds. Otherwise they are plain calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .backends.base import Completion, Prompt
from .backends.hosted import HostedBackend
from .ir import (
    GenOptions,
    SglConstantText,
    SglExpr,
    SglMedia,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSeparateReasoning,
)


class Speculation:
    """What the model has written beyond one run of a program.

    A value is taken from it only if a plain call would have ended at the same place: at a stop,
    or where the model ended by itself, and within ``max_tokens``. Tokens cannot be counted
    without the model's tokenizer, so a value has surely few enough if the whole call had, or if
    it has no more bytes; in doubt a plain call decides.

    Args:
        backend: where to ask.
        num_tokens: how far the model may write in one call.
        count: told of the cost of calls that came to nothing.
    """

    def __init__(
        self, backend: HostedBackend, num_tokens: int, count: Callable[[dict[str, Any]], None]
    ) -> None:
        self._backend = backend
        self._num_tokens = num_tokens
        self._count = count
        self._sampling = GenOptions()  # of the call that wrote ``_ahead``
        self._call_tokens = 0  # of that call
        self._ahead = ""
        self._ended = False  # the model ended its text after ``_ahead``
        self._failed = False  # the model does not follow the program
        self._in_opening = True  # nothing of this turn has been generated

    def follow(self, expression: SglExpr) -> None:
        """The program adds something, which the model may have foreseen."""
        match expression:
            case SglConstantText():
                self._consume(expression.value)
            case SglRoleBegin() | SglRoleEnd():
                self._ahead, self._failed, self._in_opening = "", False, True
            case SglSelect() | SglMedia() | SglSeparateReasoning():
                self._ahead, self._in_opening = "", False
            case _:
                return

    def _consume(self, text: str) -> None:
        if not self._ahead:
            return
        if self._ahead.startswith(text):
            self._ahead = self._ahead[len(text) :]
        else:
            self._failed = not text.startswith(self._ahead)
            self._ahead = ""

    async def generate(self, prompt: Prompt, options: GenOptions) -> Completion | None:
        """The value of a ``gen``; None leaves it to a plain call."""
        answer = None
        if _is_plain(options):
            answer = self._foreseen(options)
            if answer is None and not self._failed and options.stops():
                answer = await self._write_ahead(prompt, options)
        if answer is None:
            self._ahead = ""
        self._in_opening = False
        return answer

    def _foreseen(self, options: GenOptions) -> Completion | None:
        if not self._ahead or self._sampling != _sampling(options):
            return None
        value = self._take(options)
        if value is None:
            return None
        meta = {"calls": 0, "saved_calls": 1, "finish_reason": {"type": "stop"}}
        return Completion(value, meta)

    async def _write_ahead(self, prompt: Prompt, options: GenOptions) -> Completion | None:
        opening = ""
        if self._backend.is_chat_model and prompt.role is not None and self._in_opening:
            # An API begins a turn and does not continue one; the model is to write it all.
            opening = prompt.content.lstrip()
            prompt = replace(prompt, content="")
        tokens = max(options.max_tokens or 0, self._num_tokens)
        wide = options._replace(stop=None, max_tokens=tokens)
        answer = (await self._backend.generate(prompt, wide))[0]
        text = answer.text.lstrip() if opening else answer.text
        value = None
        if text.startswith(opening):
            self._ahead = text[len(opening) :]
            self._ended = answer.meta_info["finish_reason"]["type"] == "stop"
            self._sampling = _sampling(options)
            self._call_tokens = answer.meta_info["completion_tokens"]
            value = self._take(options)
        if value is None:
            self._failed = True
            self._count(answer.meta_info)
            return None
        return Completion(value, answer.meta_info)

    def _take(self, options: GenOptions) -> str | None:
        found = _first_stop(self._ahead, options.stops())
        if found is None and self._ended:
            found = len(self._ahead), len(self._ahead)
        if found is None:
            return None
        start, end = found
        limit = options.max_tokens
        if limit is not None and min(self._call_tokens, len(self._ahead[:end].encode())) > limit:
            return None
        value, self._ahead = self._ahead[:start], self._ahead[start:]
        return value


def _first_stop(text: str, stops: Sequence[str]) -> tuple[int, int] | None:
    """Start and end of the stop that is complete first when the text is written letter by letter.

    Of stops that end together the longest counts.
    """
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return None
    end, start = min(found)
    return start, end


def _is_plain(options: GenOptions) -> bool:
    """Whether the value is free text that depends on nothing but the text before it.

    Penalties count what a call has written itself, and a seed starts with the call, so values
    behind the first would differ from those of calls of their own.
    """
    others = (options.regex, options.json_schema, options.return_logprob, options.top_logprobs_num)
    penalties = (options.frequency_penalty, options.presence_penalty, options.repetition_penalty)
    is_seeded = options.seed is not None and options.temperature != 0
    return (options.n or 1) == 1 and not any(others) and not any(penalties) and not is_seeded


def _sampling(options: GenOptions) -> GenOptions:
    return options._replace(stop=None, max_tokens=None)
