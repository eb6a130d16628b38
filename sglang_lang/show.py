"""A program's text with colours that tell where each part is from, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .backends.base import BaseBackend
from .origins import Call, Span, calls_of, spans
from .transcript import Transcript
from .variables import Usage

RESET = "\x1b[0m"
ANSI = {
    "template": "\x1b[2m",
    "constant": "",
    "generated": "\x1b[32m",
    "selected": "\x1b[36m",
    "forced": "\x1b[33m",
}
ANSI_CACHED = "\x1b[4m"
# Backgrounds that let the text's own colour be, so that they do on light and on dark.
CSS = {
    "template": "opacity:.5",
    "constant": "",
    "generated": "background:rgba(46,160,67,.28)",
    "selected": "background:rgba(56,139,253,.30)",
    "forced": "background:rgba(219,171,10,.38)",
}
CSS_CACHED = "border-bottom:1px dotted"
BOX = (
    "font-family:ui-monospace,monospace;font-size:13px;line-height:1.5;white-space:pre-wrap;"
    "overflow-wrap:anywhere;border-left:3px solid rgba(128,128,128,.4);padding:4px 10px"
)


async def program_spans(transcript: Transcript, backend: BaseBackend) -> list[Span]:
    """The parts of a program's text so far."""
    text = await transcript.render()
    history = list(transcript.history)
    return spans(text, history, await _cached(text, calls_of(history), backend))


async def _cached(text: str, calls: Sequence[Call], backend: BaseBackend) -> list[range]:
    """What of each call's prompt was in the cache when a call first brought it."""
    areas = []
    seen = 0
    for call in calls:
        asked = min(call.prompt_length or 0, len(text))
        tokens = call.meta_info.get("cached_tokens") or 0
        if asked <= seen:
            continue
        if tokens:
            length = await backend.length_of_tokens(text[:asked], tokens, not call.is_chat)
            areas.append(range(seen, max(seen, length)))
        seen = asked
    return areas


def as_ansi(parts: Sequence[Span], usage: Usage) -> str:
    """For a terminal."""
    text = "".join(_painted(part) for part in parts)
    names = "  ".join(f"{ANSI[origin]}{origin}{RESET}" for origin in _origins(parts))
    return f"{text}\n{names}  {ANSI_CACHED}cached{RESET}  {_costs(usage)}"


def print_text(parts: Sequence[Span], usage: Usage) -> None:
    print(as_ansi(parts, usage))


def _painted(part: Span) -> str:
    style = ANSI[part.origin] + (ANSI_CACHED if part.is_cached else "")
    return f"{style}{part.text}{RESET}" if style else part.text


def as_html(parts: Sequence[Span], usage: Usage) -> str:
    """For a notebook; the styles are inline, since notebooks take no others."""
    text = "".join(_element(part) for part in parts)
    names = " ".join(f'<span style="{CSS[origin]}">{origin}</span>' for origin in _origins(parts))
    legend = (
        f'<div style="margin-top:6px;font-size:12px">{names} '
        f'<span style="{CSS_CACHED}">cached</span> {escape(_costs(usage))}</div>'
    )
    return f'<div style="{BOX}">{text}{legend}</div>'


def _element(part: Span) -> str:
    styles = [CSS[part.origin], CSS_CACHED if part.is_cached else ""]
    style = ";".join(one for one in styles if one)
    title = escape(_title(part), quote=True)
    text = escape(part.text)
    return f'<span style="{style}" title="{title}">{text}</span>' if style or title else text


def _title(part: Span) -> str:
    if part.call is None:
        return ""
    told = [part.origin, part.call.name or "without a name"]
    tokens = part.call.meta_info.get("completion_tokens")
    if tokens:
        told.append(f"{tokens} tokens")
    if part.call.end is not None:
        told.append(f"{part.call.end - part.call.start:.2f} s")
    return ", ".join(told)


def _origins(parts: Sequence[Span]) -> list[str]:
    present = {part.origin for part in parts}
    return [origin for origin in ANSI if origin in present]


def _costs(usage: Usage) -> str:
    return (
        f"{usage.calls} calls, {usage.completion_tokens} tokens generated "
        f"({usage.forced_tokens} forced), "
        f"{usage.cached_tokens} of {usage.prompt_tokens} prompt tokens cached"
    )
