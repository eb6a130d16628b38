"""Constraints compiled once: reads and bounds the input, asks the backends in turn, caches.

Safe to call from a pool of threads; the scheduler's loop never compiles.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

from .backend import CompiledGrammar, GrammarBackend, JsonSchema
from .errors import GrammarError, UnsupportedGrammarError
from .file_store import FileStore
from .grammar import NetworkGrammar
from .grammar_cache import GrammarCache
from .json_options import JsonOptions, JsonWhitespace
from .json_text import parse_json
from .kept_grammars import KeptGrammars, Name
from .llguidance_backend import LLGuidanceBackend
from .native_backend import NativeBackend
from .network import Network
from .outlines_backend import OutlinesBackend
from .reasoning import ReasoningEnd
from .relaxation import relax, with_warnings
from .structural_tag import parse_structural_tag
from .tool_calls import ToolCalls, parse_tool_calls
from .vocabulary import Vocabulary

GrammarKind = Literal["regex", "json_schema", "ebnf", "structural_tag", "choices", "tool_calls"]
BackendName = Literal["native", "llguidance", "outlines"]
BACKENDS: dict[BackendName, tuple[type[GrammarBackend], ...]] = {
    "native": (NativeBackend, LLGuidanceBackend),
    "llguidance": (LLGuidanceBackend,),
    "outlines": (OutlinesBackend, LLGuidanceBackend),
}
MAX_REASONING_ENDS = 16

Attempt = Callable[[GrammarBackend], CompiledGrammar]


@dataclass(slots=True, frozen=True)
class GrammarLimits:
    """What a request may ask a compiler to read."""

    max_pattern_len: int = 65_536
    max_schema_len: int = 2_097_152
    max_grammar_len: int = 262_144
    max_json_depth: int = 256
    max_choices: int = 10_000


@dataclass(slots=True, frozen=True)
class JsonSettings:
    """How one request wants its JSON: its spelling, and whether all of its schema must hold."""

    options: JsonOptions
    strict: bool


class GrammarCompiler:
    """Compiles constraints for one vocabulary.

    Args:
        vocabulary: the tokens the masks speak of.
        backend: the one asked first. What it cannot enforce goes to llguidance.
        json_options: the spelling of generated JSON.
        cache_bytes: compiled grammars are dropped, least recently used first, beyond this.
        limits: on the size of what is compiled.
        spelled: the bytes each token adds to the text, special ones as they are spelled; the end
            of a reasoning is looked for in them. Without it special tokens are no text.
        store: where compiled grammars are kept for later processes; nowhere when None.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        backend: BackendName = "native",
        *,
        json_options: JsonOptions | None = None,
        cache_bytes: int = 256 << 20,
        limits: GrammarLimits | None = None,
        spelled: Sequence[bytes] | None = None,
        store: FileStore | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._chain = BACKENDS[backend]
        self._backends: dict[type[GrammarBackend], GrammarBackend] = {}
        self._lock = threading.Lock()
        self._backend(self._chain[0])  # a missing package shows now
        self._json_options = json_options or JsonOptions()
        self._limits = limits or GrammarLimits()
        self._cache = GrammarCache(cache_bytes)
        self._kept = None if store is None else KeptGrammars(store, vocabulary)
        self._compile_kind: dict[str, Callable[[Any, JsonSettings], CompiledGrammar]] = {
            "regex": self._compile_regex,
            "json_schema": self._compile_json_schema,
            "ebnf": self._compile_ebnf,
            "structural_tag": self._compile_structural_tag,
            "choices": self._compile_choices,
            "tool_calls": self._compile_tool_calls,
        }
        self.on_compiled: Callable[[float], None] | None = None  # told the seconds, one at a time
        self._timing_lock = threading.Lock()
        text = spelled or [token or b"" for token in vocabulary.token_bytes]
        self._reasoning_end = lru_cache(MAX_REASONING_ENDS)(
            partial(ReasoningEnd, vocabulary=vocabulary, spelled=text)
        )

    def warm_up(self) -> None:
        """Builds what most grammars share, so that the first of them need not; takes a second."""
        self._backend(self._chain[0]).warm_up()
        if self._kept is not None:
            self._kept.warm_up()

    def compile(
        self,
        kind: GrammarKind,
        value: str | Sequence[str],
        *,
        strict: bool = True,
        whitespace: JsonWhitespace | None = None,
    ) -> CompiledGrammar:
        """Compiles, or takes from the cache, one constraint.

        Args:
            kind: what ``value`` is written in.
            value: the pattern, the JSON text of the schema, the structural tag or the tool calls,
                the grammar, or (``choices``) the strings to choose from.
            strict: refuse schema keywords that cannot be enforced; otherwise they are left out,
                and the grammar's ``warnings`` name them.
            whitespace: style of JSON, instead of the compiler's own.

        Raises:
            GrammarError: the value is wrong, too large, or nothing here can enforce it.
        """
        if kind not in self._compile_kind:
            kinds = ", ".join(self._compile_kind)
            raise GrammarError(f"grammar kind {kind!r} is not one of {kinds}")
        key_value = value if isinstance(value, str) else tuple(value)
        _check_characters(kind, key_value)
        settings = JsonSettings(self._json_options.with_whitespace(whitespace), strict)
        build = partial(self._compile_kind[kind], key_value, settings)
        if self._kept is None or not isinstance(value, str) or not strict:
            return self._cache.get((kind, key_value, settings), partial(self._timed, build))
        name = (kind, repr(settings.options), repr(self._limits), value)
        grammar = self._cache.get(
            (kind, value, settings), partial(self._timed, partial(self._recalled, name, build))
        )
        if isinstance(grammar, NetworkGrammar):
            self._kept.note(name, grammar)
        return grammar

    def _recalled(self, name: Name, build: Callable[[], CompiledGrammar]) -> CompiledGrammar:
        """The grammar from disk, or else compiled."""
        assert self._kept is not None
        tables = self._kept.recall(name)
        if tables is not None:
            recalled = self._backend(self._chain[0]).recalled(tables, lambda: network_of(build()))
            if isinstance(recalled, NetworkGrammar):
                if not tables.is_closed:
                    self._kept.complete(recalled)
                return recalled
        return build()

    def save(self) -> None:
        """Writes what was learnt of grammars to the store; happens by itself at the latest at the
        end of the process."""
        if self._kept is not None:
            self._kept.save()

    def _timed(self, compiled: Callable[[], CompiledGrammar]) -> CompiledGrammar:
        begin = time.perf_counter()
        grammar = compiled()
        if self.on_compiled is not None:
            with self._timing_lock:
                self.on_compiled(time.perf_counter() - begin)
        return grammar

    def reasoning_end(self, end: str) -> ReasoningEnd:
        """What follows free text up to ``end``; see ``ReasoningMatcher``."""
        return self._reasoning_end(end)

    def _compile_regex(self, pattern: str, _: JsonSettings) -> CompiledGrammar:
        self._check_len("regex", pattern, self._limits.max_pattern_len)
        return self._first_to("regex", lambda backend: backend.compile_regex(pattern))

    def _compile_choices(self, choices: Sequence[str], _: JsonSettings) -> CompiledGrammar:
        if not 0 < len(choices) <= self._limits.max_choices:
            raise GrammarError(
                f"choices takes 1 to {self._limits.max_choices} strings, got {len(choices)}"
            )
        self._check_len("choices", "".join(choices), self._limits.max_grammar_len)
        return self._first_to("choices", lambda backend: backend.compile_choices(choices))

    def _compile_ebnf(self, grammar: str, _: JsonSettings) -> CompiledGrammar:
        self._check_len("ebnf", grammar, self._limits.max_grammar_len)
        return self._first_to("ebnf", lambda backend: backend.compile_ebnf(grammar))

    def _compile_structural_tag(self, text: str, settings: JsonSettings) -> CompiledGrammar:
        tag = parse_structural_tag(self._parse_json("structural_tag", text))
        return self._first_to(
            "structural_tag", lambda backend: backend.compile_structural_tag(tag, settings.options)
        )

    def _compile_json_schema(self, text: str, settings: JsonSettings) -> CompiledGrammar:
        value = self._parse_json("json_schema", text)
        if not isinstance(value, dict | bool):
            raise GrammarError("json_schema must be a JSON object or a boolean")
        if settings.strict:
            return self._schema_grammar(JsonSchema(value, text), settings.options)
        grammar, warnings = relax(
            value, lambda less: self._schema_grammar(JsonSchema.of(less), settings.options)
        )
        return with_warnings(grammar, warnings)

    def _compile_tool_calls(self, text: str, settings: JsonSettings) -> CompiledGrammar:
        calls = parse_tool_calls(self._parse_json("tool_calls", text))
        warnings: list[str] = []
        if not settings.strict:
            calls, warnings = self._relaxed_calls(calls, settings.options)
        grammar = self._first_to(
            "tool_calls", lambda backend: backend.compile_tool_calls(calls, settings.options)
        )
        return with_warnings(grammar, warnings)

    def _relaxed_calls(self, calls: ToolCalls, options: JsonOptions) -> tuple[ToolCalls, list[str]]:
        def checked(schema: Any) -> Any:
            self._schema_grammar(JsonSchema.of(schema), options)
            return {"type": "object"} if schema is True else schema

        relaxed = [relax(schema, checked) for schema in calls.schemas]
        warnings = [
            f"calls/{index}: {warning}"
            for index, (_, of_schema) in enumerate(relaxed)
            for warning in of_schema
        ]
        return replace(calls, schemas=tuple(schema for schema, _ in relaxed)), warnings

    def _schema_grammar(self, schema: JsonSchema, options: JsonOptions) -> CompiledGrammar:
        return self._first_to(
            "json_schema", lambda backend: backend.compile_json_schema(schema, options)
        )

    def _first_to(self, kind: GrammarKind, attempt: Attempt) -> CompiledGrammar:
        """The grammar of the first backend that can enforce it.

        If none can, the reasons of the first one that does the kind are the clearest.
        """
        first, *others = [backend for backend in self._chain if kind in backend.kinds]
        try:
            return attempt(self._backend(first))
        except UnsupportedGrammarError as refusal:
            for other in others:
                with suppress(GrammarError):
                    return attempt(self._backend(other))
            raise refusal from None

    def _backend(self, kind: type[GrammarBackend]) -> GrammarBackend:
        with self._lock:
            if kind not in self._backends:
                self._backends[kind] = kind(self._vocabulary)
            return self._backends[kind]

    def _parse_json(self, name: str, text: str) -> Any:
        return parse_json(
            text, name, max_len=self._limits.max_schema_len, max_depth=self._limits.max_json_depth
        )

    @staticmethod
    def _check_len(name: str, text: str, limit: int) -> None:
        if len(text) > limit:
            raise GrammarError(f"{name} has {len(text)} characters, the limit is {limit}")


def network_of(grammar: CompiledGrammar) -> Network:
    """The network of a grammar that was compiled to one.

    Raises:
        GrammarError: it was not, or no longer.
    """
    if not isinstance(grammar, NetworkGrammar):
        raise GrammarError("a grammar that was kept on disk can no longer be compiled")
    return grammar.network()


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
