"""Grammars compiled once: chooses the backend, bounds the input, keeps a byte-bounded cache.

Safe to call from a pool of threads; the scheduler's loop never compiles.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sglang_lang.kernels.native import BuildError, NoCompilerError, warn_of_slow_path

from .errors import GrammarError, UnsupportedGrammarError
from .grammar import NetworkGrammar
from .json_options import JsonOptions
from .json_schema.network import JsonNetwork
from .json_schema.string_language import STRING, of_length
from .json_text import parse_json
from .llguidance_backend import LLGuidanceBackend
from .matcher import GrammarMatcher
from .native_machine import NativeVocabulary
from .network import Network
from .regex_grammar import choices_network, regex_network
from .regex_language import regex_language
from .regex_tree import Node, concat, literal
from .structural_tag import parse_structural_tag
from .vocabulary import Vocabulary

GrammarKind = Literal["regex", "json_schema", "ebnf", "structural_tag", "choices"]
USUAL_PATTERNS = (".*", r"(.|\n)*", r"[^\n]{1000,}")
GrammarBackend = Literal["native", "llguidance"]


class CompiledGrammar(Protocol):
    """A grammar compiled for one vocabulary, shared by every request that asks for it."""

    @property
    def memory_bytes(self) -> int:
        """Bytes it holds now; a lazy automaton grows with use."""

    def matcher(self) -> GrammarMatcher:
        """A fresh matcher at the start of the grammar."""


@dataclass(slots=True, frozen=True)
class GrammarLimits:
    """What a request may ask a compiler to read."""

    max_pattern_len: int = 65_536
    max_schema_len: int = 2_097_152
    max_grammar_len: int = 262_144
    max_json_depth: int = 256
    max_choices: int = 10_000


class GrammarCompiler:
    """Compiles constraints for one vocabulary.

    Args:
        vocabulary: the tokens the masks speak of.
        backend: ``native``, or ``llguidance`` for everything. Native hands on to llguidance what
            it does not do itself (EBNF, structural tags, schema keywords it cannot enforce).
        json_options: the spelling of generated JSON.
        cache_bytes: compiled grammars are dropped, least recently used first, beyond this.
        limits: on the size of what is compiled.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        backend: GrammarBackend = "native",
        *,
        json_options: JsonOptions | None = None,
        cache_bytes: int = 256 << 20,
        limits: GrammarLimits | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._native = backend == "native"
        self._json_options = json_options or JsonOptions()
        self._limits = limits or GrammarLimits()
        self._cache = GrammarCache(cache_bytes)
        self._llguidance: LLGuidanceBackend | None = None
        self._native_vocabulary: NativeVocabulary | None = None
        self._native_tried = False
        self._backend_lock = threading.Lock()

    def compile(self, kind: GrammarKind, value: str | Sequence[str]) -> CompiledGrammar:
        """Compiles, or takes from the cache, one constraint.

        Args:
            kind: what ``value`` is written in.
            value: the pattern, the JSON text of the schema or the structural tag, the grammar,
                or (``choices``) the strings to choose from.

        Raises:
            GrammarError: the value is wrong, too large, or nothing here can enforce it.
        """
        compile_kind: dict[str, Callable[[Any], CompiledGrammar]] = {
            "regex": self._compile_regex,
            "json_schema": self._compile_json_schema,
            "ebnf": self._compile_ebnf,
            "structural_tag": self._compile_structural_tag,
            "choices": self._compile_choices,
        }
        if kind not in compile_kind:
            raise GrammarError(f"grammar kind {kind!r} is not one of {', '.join(compile_kind)}")
        key_value = value if isinstance(value, str) else tuple(value)
        _check_characters(kind, key_value)
        return self._cache.get((kind, key_value), lambda: compile_kind[kind](key_value))

    def _compile_regex(self, pattern: str) -> CompiledGrammar:
        self._check_len("regex", pattern, self._limits.max_pattern_len)
        if self._native:
            return self._grammar(regex_network(pattern))
        return self._llguidance_backend().compile_regex(pattern)

    def _compile_choices(self, choices: Sequence[str]) -> CompiledGrammar:
        if not 0 < len(choices) <= self._limits.max_choices:
            raise GrammarError(
                f"choices takes 1 to {self._limits.max_choices} strings, got {len(choices)}"
            )
        self._check_len("choices", "".join(choices), self._limits.max_grammar_len)
        if self._native:
            return self._grammar(choices_network(choices))
        return self._llguidance_backend().compile_choices(choices)

    def _compile_json_schema(self, text: str) -> CompiledGrammar:
        schema = self._parse_json("json_schema", text)
        if not isinstance(schema, dict | bool):
            raise GrammarError("json_schema must be a JSON object or a boolean")
        if not self._native:
            return self._llguidance_backend().compile_json_schema(text, self._json_options)
        try:
            return self._grammar(JsonNetwork(schema, self._json_options))
        except UnsupportedGrammarError as refusal:
            return self._second_try(text, refusal)
        except RecursionError as error:
            raise GrammarError("json_schema is nested too deeply") from error

    def _second_try(self, schema: str, refusal: UnsupportedGrammarError) -> CompiledGrammar:
        """llguidance may enforce what native does not; if not, native's reason is the clearer."""
        try:
            return self._llguidance_backend().compile_json_schema(schema, self._json_options)
        except GrammarError:
            raise refusal from None

    def _compile_ebnf(self, grammar: str) -> CompiledGrammar:
        self._check_len("ebnf", grammar, self._limits.max_grammar_len)
        return self._llguidance_backend().compile_ebnf(grammar)

    def _compile_structural_tag(self, text: str) -> CompiledGrammar:
        tag = parse_structural_tag(self._parse_json("structural_tag", text))
        return self._llguidance_backend().compile_structural_tag(tag, self._json_options)

    def _grammar(self, network: Network) -> NetworkGrammar:
        with self._backend_lock:
            if not self._native_tried:
                self._native_tried = True
                self._native_vocabulary = _native_vocabulary(self._vocabulary, self._json_options)
        return NetworkGrammar(network, self._vocabulary, self._native_vocabulary)

    def _llguidance_backend(self) -> LLGuidanceBackend:
        with self._backend_lock:
            if self._llguidance is None:
                self._llguidance = LLGuidanceBackend(self._vocabulary)
            return self._llguidance

    def _parse_json(self, name: str, text: str) -> Any:
        return parse_json(
            text, name, max_len=self._limits.max_schema_len, max_depth=self._limits.max_json_depth
        )

    @staticmethod
    def _check_len(name: str, text: str, limit: int) -> None:
        if len(text) > limit:
            raise GrammarError(f"{name} has {len(text)} characters, the limit is {limit}")


class GrammarCache:
    """Least recently used grammars within a number of bytes; equal requests compile once.

    A compilation in progress is a future that later callers wait for; its failure is raised in
    each of them and is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[object, Future[CompiledGrammar]] = OrderedDict()

    def get(self, key: object, build: Callable[[], CompiledGrammar]) -> CompiledGrammar:
        """The grammar of ``key``, built by this caller if no one has."""
        with self._lock:
            future = self._entries.get(key)
            mine = future is None
            if future is None:
                future = self._entries[key] = Future()
            self._entries.move_to_end(key)
        if mine:
            self._build(key, future, build)
        return future.result()

    def _build(
        self, key: object, future: Future[CompiledGrammar], build: Callable[[], CompiledGrammar]
    ) -> None:
        try:
            grammar = build()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            future.set_exception(error)
            return
        future.set_result(grammar)
        with self._lock:
            self._evict(key)

    def _evict(self, newest: object) -> None:
        """Drops finished grammars, oldest first, while all together exceed the limit."""
        sizes = {
            key: future.result().memory_bytes
            for key, future in self._entries.items()
            if future.done()
        }
        total = sum(sizes.values())
        for key, size in sizes.items():
            if total <= self._max_bytes or key == newest:
                return
            del self._entries[key]
            total -= size


def _native_vocabulary(vocabulary: Vocabulary, options: JsonOptions) -> NativeVocabulary | None:
    """The vocabulary on the C++ side, or None where it cannot be compiled."""
    try:
        native = NativeVocabulary(vocabulary)
        for language, beginning in _usual_languages(options):
            native.shared_languages().prepare(language, beginning)
        return native
    except (NoCompilerError, BuildError) as error:
        warn_of_slow_path(error)
        return None


def _usual_languages(options: JsonOptions) -> list[tuple[Node, bytes]]:
    """What most grammars hold and takes long to mask, and a text after which a mask is asked."""
    return [
        (STRING, b'"'),
        (of_length(1_000, None), b'"'),
        (concat(STRING, literal(options.key_separator)), b'"'),
        *((regex_language(pattern, "python"), b"a") for pattern in USUAL_PATTERNS),
    ]


def _check_characters(kind: str, value: str | Sequence[str]) -> None:
    """Refuses what no UTF-8 text can hold, before it reaches native code."""
    for text in (value,) if isinstance(value, str) else value:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise GrammarError(
                f"{kind} holds a lone surrogate, which is no character", position=error.start
            ) from error
        if "\0" in text:
            raise GrammarError(f"{kind} holds a NUL character", position=text.index("\0"))
