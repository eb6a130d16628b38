"""The errors of grammars: what a user wrote cannot become a constraint."""

from __future__ import annotations


class GrammarError(ValueError):
    """A regex, schema or grammar that is wrong or too large.

    Args:
        message: says what is wrong, with the value, and what is allowed.
        keyword: the JSON Schema keyword at fault.
        pointer: JSON pointer of the schema object that holds the keyword.
        position: index of the first offending character of a pattern.
    """

    def __init__(
        self,
        message: str,
        *,
        keyword: str | None = None,
        pointer: str | None = None,
        position: int | None = None,
    ) -> None:
        place = "" if pointer is None else f" at {pointer or 'the root of the schema'}"
        super().__init__(message + place)
        self.message = message
        self.keyword = keyword
        self.pointer = pointer
        self.position = position


class UnsupportedGrammarError(GrammarError):
    """The grammar is well formed, but this backend cannot enforce it; another one may."""
