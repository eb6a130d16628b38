"""The native backend: constraints as transition networks, followed by our own machine."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from sglang_lang.kernels.native import BuildError, NoCompilerError, warn_of_slow_path

from .backend import GrammarBackend, JsonSchema
from .errors import GrammarError
from .grammar import NetworkGrammar
from .json_options import JsonOptions, JsonWhitespace
from .json_schema.formats import USUAL_FORMATS, format_pattern
from .json_schema.network import JsonNetwork
from .json_schema.string_language import STRING, matching, of_length
from .machine_tables import MachineTables
from .native_machine import NativeVocabulary
from .network import Network
from .regex_grammar import choices_network, regex_network
from .regex_language import regex_language
from .regex_tree import Node, concat, literal
from .tool_calls import ToolCalls, ToolCallsNetwork
from .vocabulary import Vocabulary

FAR = 1_000  # more characters than a token has
USUAL_PATTERNS = (".*", r"(.|\n)*", rf".{{{FAR},}}")
USUAL_CHARACTERS = r"\b\w\W\d\s\p{L}\p{Lu}(?i:a)"  # sets that take long to make
STYLES: tuple[JsonWhitespace, ...] = ("spaced", "compact")


class NativeBackend(GrammarBackend):
    """Compiles in milliseconds and builds automata as they are used; see the folder's machines.

    Args:
        vocabulary: the tokens.
    """

    kinds = frozenset(("regex", "choices", "json_schema", "tool_calls"))

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._native_vocabulary: NativeVocabulary | None = None
        self._tried_native = False
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        regex_language(USUAL_CHARACTERS, "python")
        native = self._native()
        if native is not None:
            for language, beginning in _usual_languages():
                native.shared_languages().prepare(language, beginning)

    def compile_regex(self, pattern: str) -> NetworkGrammar:
        return self._grammar(regex_network(pattern))

    def compile_choices(self, choices: Sequence[str]) -> NetworkGrammar:
        return self._grammar(choices_network(choices))

    def compile_json_schema(self, schema: JsonSchema, options: JsonOptions) -> NetworkGrammar:
        with _deep("json_schema"):
            return self._prepared(JsonNetwork(schema.value, options))

    def compile_tool_calls(self, calls: ToolCalls, options: JsonOptions) -> NetworkGrammar:
        with _deep("tool_calls"):
            return self._prepared(ToolCallsNetwork(calls, partial(JsonNetwork, options=options)))

    def recalled(
        self, tables: MachineTables, network: Callable[[], Network]
    ) -> NetworkGrammar | None:
        native = self._native()
        if native is None:
            return None
        grammar = NetworkGrammar(network, self._vocabulary, native, tables)
        grammar.prepare()
        return grammar

    def _prepared(self, network: Network) -> NetworkGrammar:
        """With the first mask, which is quick to find where a bracket or a frame comes first."""
        grammar = self._grammar(network)
        grammar.prepare()
        return grammar

    def _grammar(self, network: Network) -> NetworkGrammar:
        return NetworkGrammar(lambda: network, self._vocabulary, self._native())

    def _native(self) -> NativeVocabulary | None:
        with self._lock:
            if not self._tried_native:
                self._tried_native = True
                self._native_vocabulary = _native_vocabulary(self._vocabulary)
        return self._native_vocabulary


def _native_vocabulary(vocabulary: Vocabulary) -> NativeVocabulary | None:
    """The vocabulary on the C++ side, or None where it cannot be compiled."""
    try:
        return NativeVocabulary(vocabulary)
    except (NoCompilerError, BuildError) as error:
        warn_of_slow_path(error)
        return None


def _usual_languages() -> list[tuple[Node, bytes]]:
    """What most grammars hold and takes long to mask, and a text after which a mask is asked."""
    formats = [(format_pattern(name), f'"{text}') for name, text in USUAL_FORMATS]
    separators = [JsonOptions().with_whitespace(style).key_separator for style in STYLES]
    return [
        (STRING, b'"'),
        (of_length(FAR, None), b'"'),
        *((concat(STRING, literal(separator)), b'"') for separator in separators),
        *((regex_language(pattern, "python"), b"a") for pattern in USUAL_PATTERNS),
        *(
            (matching(pattern, ""), text[:length].encode())
            for pattern, text in formats
            if pattern is not None
            for length in range(1, len(text) + 1)
        ),
    ]


@contextmanager
def _deep(kind: str) -> Iterator[None]:
    """What recurses too deep is refused; ctypes hides the error of a call's argument in its own."""
    try:
        yield
    except (RecursionError, ctypes.ArgumentError) as error:
        raise GrammarError(f"{kind} is nested or counted too deeply") from error
