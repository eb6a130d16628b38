"""Boolean formulas over the schemas of a document: what a value at one position must satisfy.

A formula names schemas and does not look into them, so recursion through ``$ref`` costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .document import Subschema


@dataclass(slots=True, frozen=True)
class At:
    """The value satisfies the schema at one place of the document."""

    schema: Subschema


@dataclass(slots=True, frozen=True)
class AllOf:
    """The value satisfies every part; no part at all is satisfied by any value."""

    parts: tuple[Formula, ...]


@dataclass(slots=True, frozen=True)
class AnyOf:
    """The value satisfies at least one part; no part at all is satisfied by none."""

    parts: tuple[Formula, ...]


@dataclass(slots=True, frozen=True)
class Not:
    part: Formula


Formula = At | AllOf | AnyOf | Not
TRUE = AllOf(())
FALSE = AnyOf(())


def at(schema: Subschema) -> Formula:
    """The formula of a schema; ``true`` and ``{}`` become ``TRUE``, ``false`` ``FALSE``."""
    if schema.value is False:
        return FALSE
    return TRUE if schema.value is True or schema.value == {} else At(schema)


def all_of(parts: Iterable[Formula]) -> Formula:
    """Conjunction, flattened, without repetitions, in the order given."""
    kept: dict[Formula, None] = {}
    for part in parts:
        if part == FALSE:
            return FALSE
        kept.update(dict.fromkeys(part.parts if isinstance(part, AllOf) else (part,)))
    return next(iter(kept)) if len(kept) == 1 else AllOf(tuple(kept))


def any_of(parts: Iterable[Formula]) -> Formula:
    """Disjunction, flattened, without repetitions, in the order given."""
    kept: dict[Formula, None] = {}
    for part in parts:
        if part == TRUE:
            return TRUE
        kept.update(dict.fromkeys(part.parts if isinstance(part, AnyOf) else (part,)))
    return next(iter(kept)) if len(kept) == 1 else AnyOf(tuple(kept))


def negation(part: Formula) -> Formula:
    if isinstance(part, Not):
        return part.part
    if part == TRUE:
        return FALSE
    return TRUE if part == FALSE else Not(part)
