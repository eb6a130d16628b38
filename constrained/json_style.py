"""How generated JSON is spelled: separators, order of properties, spelling of integers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class JsonStyle:
    """The spelling of JSON that a grammar admits among the many that mean the same.

    A fixed style forces more bytes, so more of the text comes without a forward pass, and it
    leaves no room for runaway whitespace.

    Args:
        item_separator: between items and between properties.
        key_separator: between a key and its value.
        max_whitespace: where positive, each separator may instead be surrounded by up to this
            many blanks, tabs and newlines.
        any_order: properties in any order, not only in the order of the schema.
        integer_fraction: integers may also be spelled with a zero fraction, as in ``1.0``.
    """

    item_separator: str = ", "
    key_separator: str = ": "
    max_whitespace: int = 0
    any_order: bool = False
    integer_fraction: bool = False
