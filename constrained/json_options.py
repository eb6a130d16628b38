"""What a JSON Schema leaves open: separators, order of properties, spelling, formats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

JsonWhitespace = Literal["spaced", "compact", "flexible"]
MAX_WHITESPACE = 32  # characters in one place, where whitespace is free


@dataclass(slots=True, frozen=True)
class JsonOptions:
    """Which of the JSON texts that satisfy a schema a grammar admits.

    A fixed spelling forces more bytes, so more of the text comes without a forward pass, and it
    leaves no room for runaway whitespace.

    Args:
        item_separator: between items and between properties.
        key_separator: between a key and its value.
        max_whitespace: spaces, tabs and line ends around separators and inside brackets, up to so
            many in one place.
        any_order: properties in any order, not only in the order of the schema.
        integer_fraction: integers may also be spelled with a zero fraction, as in ``1.0``.
        assert_formats: known values of ``format`` are enforced; otherwise all are annotations.
    """

    item_separator: str = ", "
    key_separator: str = ": "
    max_whitespace: int = 0
    any_order: bool = False
    integer_fraction: bool = False
    assert_formats: bool = True

    def with_whitespace(self, style: JsonWhitespace | None) -> JsonOptions:
        """The same in another style; None changes nothing."""
        if style is None:
            return self
        if style == "flexible":
            return replace(
                self, item_separator=",", key_separator=":", max_whitespace=MAX_WHITESPACE
            )
        space = " " if style == "spaced" else ""
        return replace(
            self, item_separator="," + space, key_separator=":" + space, max_whitespace=0
        )
