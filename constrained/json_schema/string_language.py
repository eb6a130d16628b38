"""Languages of JSON strings: patterns, lengths and literals over the escaped text.

A string has exactly one spelling here: everything stands for itself except the quote, the
backslash and control characters. So languages of texts and sets of strings are the same, and
complement, intersection and comparison of texts are exact.
"""

from __future__ import annotations

import json
from functools import lru_cache

from ..core_stub import (
    Node,
    alternate,
    charset,
    concat,
    ecma_search,
    intersect,
    literal,
    repeat,
)
from ..errors import GrammarError

Ranges = tuple[tuple[int, int], ...]
ALL_CHARACTERS: Ranges = ((0, 0x10FFFF),)
ESCAPED = (*range(0x20), ord('"'), ord("\\"))
UNESCAPED: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x10FFFF))
QUOTE = literal('"')


def spelled(text: str) -> str:
    """``text`` as it stands between the quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


@lru_cache(4096)
def escaped_charset(ranges: Ranges) -> Node:
    """One character of the set, as spelled in JSON."""
    plain = tuple(
        (max(low, first), min(high, last))
        for low, high in ranges
        for first, last in UNESCAPED
        if max(low, first) <= min(high, last)
    )
    escapes = [
        literal(spelled(chr(code)))
        for code in ESCAPED
        if any(low <= code <= high for low, high in ranges)
    ]
    return alternate(charset(plain), *escapes)


CONTENT = repeat(escaped_charset(ALL_CHARACTERS), 0, None)


def quoted(content: Node) -> Node:
    """The JSON strings whose content is in the language."""
    return concat(QUOTE, content, QUOTE)


STRING = quoted(CONTENT)


def exactly(text: str) -> Node:
    """This one string."""
    return literal(f'"{spelled(text)}"')


def matching(pattern: str, pointer: str) -> Node:
    """The strings that hold a match of an ECMA-262 pattern.

    Raises:
        GrammarError: the pattern is wrong, or not regular (backreferences).
    """
    try:
        return quoted(intersect(CONTENT, ecma_search(pattern, escaped_charset)))
    except ValueError as error:
        raise GrammarError(
            f"pattern {pattern!r}: {error}", keyword="pattern", pointer=pointer
        ) from error


def of_length(minimum: int, maximum: int | None) -> Node:
    """The strings of ``minimum`` to ``maximum`` characters (code points)."""
    return quoted(repeat(escaped_charset(ALL_CHARACTERS), minimum, maximum))
