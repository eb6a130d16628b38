"""Questions about regular languages, answered in C++, or in Python where that cannot be built."""

from __future__ import annotations

from functools import lru_cache

from sglang_lang.kernels.native import BuildError, NoCompilerError

from . import derivatives
from .native_languages import NativeLanguages
from .regex_tree import Node

MAX_NODES = 300_000  # of languages kept on the C++ side; then it starts afresh
LOOKED_AT = 16  # how often that is looked at, in questions


class _Oracle:
    """The C++ side, replaced by a fresh one when it has grown."""

    def __init__(self) -> None:
        self._languages = NativeLanguages()
        self._asked = 0

    def languages(self) -> NativeLanguages:
        self._asked += 1
        if self._asked % LOOKED_AT == 0 and self._languages.num_nodes > MAX_NODES:
            self._languages = NativeLanguages()
        return self._languages


@lru_cache(1)
def _oracle() -> _Oracle | None:
    try:
        return _Oracle()
    except (NoCompilerError, BuildError):  # said once where masks are made
        return None


def is_empty(node: Node) -> bool:
    """Whether no byte string is in the language.

    Raises:
        UnsupportedGrammarError: the question would take too long.
    """
    if node.empty is None:
        oracle = _oracle()
        if oracle is None:
            return derivatives.is_empty(node)
        node.empty = oracle.languages().is_empty(node)
    return node.empty


def matches(node: Node, text: bytes) -> bool:
    """Whether the text is in the language."""
    oracle = _oracle()
    if oracle is None:
        return derivatives.matches(node, text)
    return oracle.languages().matches(node, text)


def count_words(node: Node, limit: int) -> int:
    """How many byte strings are in the language, counted up to ``limit``."""
    oracle = _oracle()
    if oracle is None:
        return derivatives.count_words(node, limit)
    return oracle.languages().count_words(node, limit)
