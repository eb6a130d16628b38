"""Languages of JSON strings: patterns, lengths and literals over the escaped text.

A string has exactly one spelling here: everything stands for itself except the quote, the
backslash and control characters. So languages of texts and sets of strings are the same, and
complement, intersection and comparison of texts are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from json.encoder import encode_basestring

from ..errors import GrammarError
from ..regex_language import regex_language
from ..regex_tree import Node, Ranges, alternate, concat, literal, repeat
from ..unicode_sets import EVERY, utf8

ESCAPED = (*range(0x20), ord('"'), ord("\\"))
UNESCAPED: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x10FFFF))
QUOTE = literal('"')


def spelled(text: str) -> str:
    """``text`` as it stands between the quotes."""
    return encode_basestring(text)[1:-1]


@lru_cache(4096)
def escaped_charset(ranges: Ranges) -> Node:
    """One character of the set, as spelled in JSON."""
    plain = tuple(
        (max(low, first), min(high, last))
        for low, high in ranges
        for first, last in UNESCAPED
        if max(low, first) <= min(high, last)
    )
    lowest = min((low for low, _ in ranges), default=ESCAPED[-1] + 1)
    escapes = [
        literal(spelled(chr(code)))
        for code in ESCAPED[bisect_left(ESCAPED, lowest) :]
        if any(low <= code <= high for low, high in ranges)
    ]
    return alternate(utf8(plain), *escapes)


CONTENT = repeat(escaped_charset(EVERY), 0, None)


def quoted(content: Node) -> Node:
    """The JSON strings whose content is in the language."""
    return concat(QUOTE, content, QUOTE)


STRING = quoted(CONTENT)


def quoted_text(text: str) -> bytes:
    """The one spelling of a string, quotes included."""
    return encode_basestring(text).encode()


@lru_cache(16_384)
def exactly(text: str) -> Node:
    """This one string."""
    return literal(quoted_text(text))


def matching(pattern: str, pointer: str) -> Node:
    """The strings that hold a match of an ECMA-262 pattern.

    Raises:
        GrammarError: the pattern is wrong, or not regular (backreferences).
    """
    try:
        return _matching(pattern)
    except GrammarError as error:
        raise type(error)(
            f"pattern {pattern!r}: {error.message}",
            keyword="pattern",
            pointer=pointer,
            position=error.position,
        ) from error


@lru_cache(1024)
def _matching(pattern: str) -> Node:
    return quoted(regex_language(pattern, "ecma", search=True, alphabet=escaped_charset))


@lru_cache(1024)
def of_length(minimum: int, maximum: int | None) -> Node:
    """The strings of ``minimum`` to ``maximum`` characters (code points)."""
    return quoted(repeat(escaped_charset(EVERY), minimum, maximum))
