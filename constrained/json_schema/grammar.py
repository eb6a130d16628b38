"""A JSON Schema compiled for one vocabulary."""

from __future__ import annotations

from typing import Any

from ..errors import GrammarError
from ..json_options import JsonOptions
from ..masks import MaskTable
from ..matcher import AutomatonMatcher
from ..vocabulary import Vocabulary
from .machine import JsonMachine
from .network import JsonNetwork


class JsonSchemaGrammar:
    """The machine of a schema and the mask rows of its states.

    Args:
        machine: the automaton.
        vocabulary: the tokens.
    """

    def __init__(self, machine: JsonMachine, vocabulary: Vocabulary) -> None:
        self._machine = machine
        self._vocabulary = vocabulary
        self._masks = MaskTable(machine, vocabulary)

    @property
    def memory_bytes(self) -> int:
        return self._masks.memory_bytes + self._machine.memory_bytes

    def matcher(self) -> AutomatonMatcher:
        return AutomatonMatcher(self._machine, self._masks, self._vocabulary)


def compile_json_schema(
    schema: dict[str, Any] | bool, options: JsonOptions, vocabulary: Vocabulary
) -> JsonSchemaGrammar:
    """Compiles a parsed schema.

    Raises:
        GrammarError: the schema is wrong, too deep, or nothing satisfies it.
        UnsupportedGrammarError: something in it cannot be enforced; keyword and pointer say what.
    """
    try:
        machine = JsonMachine(JsonNetwork(schema, options))
    except RecursionError as error:
        raise GrammarError("the schema is nested too deeply") from error
    return JsonSchemaGrammar(machine, vocabulary)
