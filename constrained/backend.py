"""What a grammar backend compiles, and what it makes of it. All backends subclass one base."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .json_options import JsonOptions
from .machine_tables import MachineTables
from .matcher import GrammarMatcher
from .network import Network
from .structural_tag import StructuralTag
from .tool_calls import ToolCalls
from .vocabulary import Vocabulary


class CompiledGrammar(Protocol):
    """A grammar compiled for one vocabulary, shared by every request that asks for it."""

    @property
    def warnings(self) -> Sequence[str]:
        """What of the constraint is not enforced, where the request allowed that."""

    @property
    def memory_bytes(self) -> int:
        """Bytes it holds now; a lazy automaton grows with use."""

    def matcher(self) -> GrammarMatcher:
        """A fresh matcher at the start of the grammar."""


@dataclass(slots=True, frozen=True)
class JsonSchema:
    """A schema as parsed by ``parse_json`` (fractions are ``Decimal``), and as JSON text."""

    value: dict[str, Any] | bool
    text: str

    @classmethod
    def of(cls, value: dict[str, Any] | bool) -> JsonSchema:
        return cls(value, json.dumps(value, default=float))


class GrammarBackend:
    """Compiles constraints for one vocabulary; a subclass overrides the ``kinds`` it can enforce.

    Each method raises ``GrammarError`` for a wrong constraint, and its subclass
    ``UnsupportedGrammarError`` for one that another backend may do.
    """

    kinds: frozenset[str]

    def __init__(self, vocabulary: Vocabulary) -> None:
        raise NotImplementedError

    def warm_up(self) -> None:
        """Builds what most grammars share, so that the first of them need not."""

    def recalled(
        self, tables: MachineTables, network: Callable[[], Network]
    ) -> CompiledGrammar | None:
        """A grammar from what was kept of it on disk; None where a backend keeps nothing.

        Args:
            tables: what was kept.
            network: compiles the grammar after all, where a text leads beyond the tables.
        """
        return None

    def compile_regex(self, pattern: str) -> CompiledGrammar:
        """The whole output matches ``pattern``."""
        raise NotImplementedError

    def compile_choices(self, choices: Sequence[str]) -> CompiledGrammar:
        """The output is one of the given strings."""
        raise NotImplementedError

    def compile_json_schema(self, schema: JsonSchema, options: JsonOptions) -> CompiledGrammar:
        """The output is JSON that satisfies ``schema``, spelled as ``options`` say."""
        raise NotImplementedError

    def compile_ebnf(self, grammar: str) -> CompiledGrammar:
        """The output is in the language of a context-free grammar (Lark's syntax or GBNF)."""
        raise NotImplementedError

    def compile_structural_tag(self, tag: StructuralTag, options: JsonOptions) -> CompiledGrammar:
        """Free text with tagged sections, each of JSON that satisfies a schema."""
        raise NotImplementedError

    def compile_tool_calls(self, calls: ToolCalls, options: JsonOptions) -> CompiledGrammar:
        """Framed JSON objects; see tool_calls.py."""
        raise NotImplementedError
