"""Brackets and separators of JSON, with the whitespace that may stand around them."""

from __future__ import annotations

from functools import lru_cache

from ..json_options import JsonOptions
from ..regex_tree import EPSILON, byte_set, concat, literal, repeat

WHITESPACE = byte_set(sum(1 << ord(character) for character in " \t\n\r"))


@lru_cache(64)
def punctuation_of(options: JsonOptions) -> Punctuation:
    """The punctuation of some options, made once."""
    return Punctuation(options)


class Punctuation:
    """The languages of what stands between values.

    Whitespace comes after an opening bracket, before a closing one and around separators, so that
    every text has one reading as far as there is only one.

    Args:
        options: whose separators and whitespace.
    """

    def __init__(self, options: JsonOptions) -> None:
        most = options.max_whitespace
        gap = repeat(WHITESPACE, 0, most) if most else EPSILON
        self.comma = concat(gap, literal(options.item_separator), gap)
        self.colon = concat(gap, literal(options.key_separator), gap)
        self.open_array, self.open_object = concat(literal("["), gap), concat(literal("{"), gap)
        self.close_array, self.close_object = concat(gap, literal("]")), concat(gap, literal("}"))
