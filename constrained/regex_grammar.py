"""Regexes and lists of choices as grammars."""

from __future__ import annotations

from collections.abc import Sequence

from .derivatives import is_empty
from .errors import GrammarError
from .lazy_dfa import LazyDFA
from .masks import MaskTable
from .matcher import AutomatonMatcher
from .regex_language import regex_language
from .regex_tree import Node, one_of
from .vocabulary import Vocabulary

BYTES_PER_STATE = 2500  # a row of 256 numbers and its keys


class RegularGrammar:
    """A regular language compiled for one vocabulary.

    Args:
        language: the texts to admit.
        vocabulary: the tokens.
    """

    def __init__(self, language: Node, vocabulary: Vocabulary) -> None:
        self._dfa = LazyDFA([language])
        self._vocabulary = vocabulary
        self._masks = MaskTable(self, vocabulary)

    @property
    def start(self) -> int:
        return self._dfa.start

    @property
    def memory_bytes(self) -> int:
        return self._masks.memory_bytes + BYTES_PER_STATE * self._dfa.num_states

    def step(self, state: int, byte: int) -> int:
        return self._dfa.step(state, byte)

    def is_accepting(self, state: int) -> bool:
        return bool(self._dfa.labels(state))

    def next_bytes(self, state: int) -> int:
        return self._dfa.next_bytes(state)

    def matcher(self) -> AutomatonMatcher:
        return AutomatonMatcher(self, self._masks, self._vocabulary)


def compile_regex(pattern: str, vocabulary: Vocabulary) -> RegularGrammar:
    """Compiles a pattern in Python's syntax; the whole output must match it.

    Raises:
        GrammarError: the pattern is wrong, not regular, or matches nothing.
    """
    language = regex_language(pattern, "python")
    if is_empty(language):
        raise GrammarError("regex: the pattern matches no text")
    return RegularGrammar(language, vocabulary)


def compile_choices(choices: Sequence[str], vocabulary: Vocabulary) -> RegularGrammar:
    """Compiles the finite language of the given strings."""
    return RegularGrammar(one_of(choice.encode() for choice in choices), vocabulary)
