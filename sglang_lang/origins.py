"""Where each part of a program's text is from: written by the program, or by the model.

The transcript keeps the call that wrote a text; here the texts are found in the rendered whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

from .ir import SglConstantText, SglExpr, SglRoleBegin, SglRoleEnd


@dataclass(slots=True)
class Call:
    """A request for text.

    Args:
        kind: "generated" or "selected".
        name: of the variable, if it has one.
        prompt_length: characters of the prompt; None for a text that a join brought from a fork.
        is_chat: the prompt came from a chat template.
        start: when it was asked, by ``time.perf_counter``; ``end`` when it was answered.
        meta_info: what the backend told of it.
    """

    kind: str
    name: str | None
    prompt_length: int | None
    is_chat: bool = False
    start: float = field(default_factory=time.perf_counter)
    end: float | None = None
    meta_info: dict[str, Any] = field(default_factory=dict)

    def answered(self, meta_info: dict[str, Any]) -> None:
        self.end = time.perf_counter()
        self.meta_info = meta_info


@dataclass(slots=True)
class SglWritten(SglConstantText):
    """Text of a program that has run, and the call that wrote it, if it was the model."""

    call: Call | None = None

    def joined(self) -> SglWritten:
        """For the parent of a fork, which did not make the call."""
        return SglWritten(self.value, self.call and replace(self.call, prompt_length=None))


class Span(NamedTuple):
    """A part of the text: "template", "constant", "generated", "selected" or "forced"."""

    text: str
    origin: str
    is_cached: bool = False
    call: Call | None = None


def spans(text: str, history: Sequence[SglExpr], cached: Sequence[range] = ()) -> list[Span]:
    """The text in parts, which joined are the text.

    Args:
        text: as it is rendered; what the program did not add is the template's.
        history: what was added, with the turns.
        cached: characters that were in the cache when they were first asked for, in order.
    """
    found: list[Span] = []
    at = 0
    for parts in _turns(history):
        content = "".join(part.value for part in parts)
        start = text.find(content, at)
        if start < 0:  # a template may strip what a turn says
            parts, content = _stripped(parts), content.strip()
            start = text.find(content, at)
        if start < 0 or not content:
            continue
        found.append(Span(text[at:start], "template"))
        for part in parts:
            found += _written(part)
        at = start + len(content)
    found.append(Span(text[at:], "template"))
    return [span for span in _cut(found, cached) if span.text]


def _turns(history: Sequence[SglExpr]) -> Iterator[list[SglWritten]]:
    parts: list[SglWritten] = []
    for entry in history:
        if isinstance(entry, SglWritten):
            parts.append(entry)
        elif isinstance(entry, SglRoleBegin | SglRoleEnd):
            yield parts
            parts = []
    yield parts


def _stripped(parts: list[SglWritten]) -> list[SglWritten]:
    kept = list(parts)
    while kept and not kept[0].value.strip():
        del kept[0]
    while kept and not kept[-1].value.strip():
        del kept[-1]
    if kept:
        kept[0] = replace(kept[0], value=kept[0].value.lstrip())
        kept[-1] = replace(kept[-1], value=kept[-1].value.rstrip())
    return kept


def _written(part: SglWritten) -> Iterator[Span]:
    """One span, or several where the constraint has forced pieces of a generated text."""
    if part.call is None:
        yield Span(part.value, "constant")
        return
    at = 0
    for start, end in part.call.meta_info.get("forced_spans", ()):
        yield Span(part.value[at:start], part.call.kind, call=part.call)
        yield Span(part.value[start:end], "forced", call=part.call)
        at = end
    yield Span(part.value[at:], part.call.kind, call=part.call)


def _cut(parts: Sequence[Span], cached: Sequence[range]) -> Iterator[Span]:
    """Cut what the program and the template wrote where the cache begins and ends."""
    at = 0
    for part in parts:
        end = at + len(part.text)
        borders = {at, end}
        if part.call is None:
            borders |= {border for area in cached for border in (area.start, area.stop)}
        inside = sorted(border for border in borders if at <= border <= end)
        for start, stop in pairwise(inside):
            yield part._replace(
                text=part.text[start - at : stop - at],
                is_cached=part.call is None and any(start in area for area in cached),
            )
        at = end


def calls_of(history: Sequence[SglExpr]) -> list[Call]:
    """The calls that wrote a history's texts, each once, without those of joined forks."""
    calls = {
        id(entry.call): entry.call
        for entry in history
        if isinstance(entry, SglWritten)
        and entry.call is not None
        and entry.call.prompt_length is not None
    }
    return list(calls.values())
