"""Regexes and lists of choices as networks of one lexeme."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import GrammarError
from .languages import is_empty
from .network import END, Edge, State
from .regex_language import regex_language
from .regex_tree import Node, one_of


class RegularNetwork:
    """The network whose texts are those of one regular language; a ``Network``."""

    start = "start"

    def __init__(self, language: Node) -> None:
        self._edge = Edge(language, END)

    def edges(self, state: State) -> tuple[Edge, ...]:
        return (self._edge,)

    def with_captured(self, state: State, text: str) -> State:
        return state


def regex_network(pattern: str) -> RegularNetwork:
    """A pattern in Python's syntax; the whole output must match it.

    Raises:
        GrammarError: the pattern is wrong, not regular, or matches nothing.
    """
    language = regex_language(pattern, "python")
    if is_empty(language):
        raise GrammarError("regex: the pattern matches no text")
    return RegularNetwork(language)


def choices_network(choices: Sequence[str]) -> RegularNetwork:
    """The finite language of the given strings."""
    return RegularNetwork(one_of(choice.encode() for choice in choices))
