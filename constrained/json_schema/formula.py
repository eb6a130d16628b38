"""Boolean formulas over the schemas of a document: what a value at one position must satisfy.

A formula names schemas and does not look into them, so recursion through ``$ref`` costs nothing.
A schema by itself is a formula: the value satisfies it. ``TRUE`` and ``FALSE`` are one object each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .keyword_sets import BEYOND_TYPE, TYPES
from .subschema import Subschema


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


Formula = Subschema | AllOf | AnyOf | Not
TRUE = AllOf(())
FALSE = AnyOf(())
OF_TYPE = {name: Subschema({"type": name}, "", "") for name in TYPES}


def plain(value: object) -> Formula | None:
    """The formula of a schema that says nothing, or a type only; there is one for each.

    Args:
        value: its JSON. None comes back for all others, and for what is no schema.
    """
    if isinstance(value, dict):
        if not value.keys().isdisjoint(BEYOND_TYPE):
            return None
        if "type" not in value:
            return TRUE
        name = value["type"]
        return OF_TYPE.get(name) if isinstance(name, str) else None
    if isinstance(value, bool):
        return TRUE if value else FALSE
    return None


def at(schema: Subschema) -> Formula:
    """The formula of a schema."""
    return plain(schema.value) or schema


def all_of(parts: Iterable[Formula]) -> Formula:
    """Conjunction, flattened, without repetitions, in the order given."""
    kept: dict[Formula, None] = {}
    for part in parts:
        if part is FALSE:
            return FALSE
        if isinstance(part, AllOf):
            kept.update(dict.fromkeys(part.parts))
        else:
            kept[part] = None
    if len(kept) == 1:
        return next(iter(kept))
    return AllOf(tuple(kept)) if kept else TRUE


def any_of(parts: Iterable[Formula]) -> Formula:
    """Disjunction, flattened, without repetitions, in the order given."""
    kept: dict[Formula, None] = {}
    for part in parts:
        if part is TRUE:
            return TRUE
        if isinstance(part, AnyOf):
            kept.update(dict.fromkeys(part.parts))
        else:
            kept[part] = None
    if len(kept) == 1:
        return next(iter(kept))
    return AnyOf(tuple(kept)) if kept else FALSE


def negation(part: Formula) -> Formula:
    if isinstance(part, Not):
        return part.part
    if part is TRUE:
        return FALSE
    return TRUE if part is FALSE else Not(part)
