"""Languages as records of numbers, which the C++ side reads and which can be kept on disk."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .regex_tree import (
    Alternation,
    ByteSet,
    Complement,
    Concat,
    Intersection,
    Literal,
    Node,
    Repeat,
    Table,
    Words,
)

UNBOUNDED = -1
(
    BYTE_SET, WORDS, TABLE, CONCAT, ALTERNATION, INTERSECTION, COMPLEMENT, REPEAT,
) = range(8)  # kinds of records  # fmt: skip


@dataclass(slots=True, frozen=True)
class Records:
    """Nodes, parts first: ``count`` records of one kind and its arguments each.

    A part is named by the number it has on the C++ side, or as -1 - n the n-th of these records.
    """

    data: array[int]
    count: int


def written(roots: Iterable[Node], known: Mapping[Node, int]) -> tuple[Records, dict[Node, int]]:
    """The records of some trees, less what is known by number.

    Returns:
        the records, and the index of each node in them.
    """
    indices: dict[Node, int] = {}
    data: list[int] = []
    pending = [root for root in roots if root not in known]
    while pending:
        node = pending[-1]
        missing = [part for part in _parts(node) if part not in known and part not in indices]
        if missing:
            pending += missing
            continue
        pending.pop()
        if node not in indices:
            parts = [
                -1 - indices[part] if part in indices else known[part] for part in _parts(node)
            ]
            indices[node] = len(indices)
            data += _record(node, parts)
    return Records(array("i", data), len(indices)), indices


def _parts(node: Node) -> tuple[Node, ...]:
    match node:
        case Concat():
            return (node.first, node.rest)
        case Alternation() | Intersection():
            return tuple(node.parts)
        case Complement() | Repeat():
            return (node.part,)
    return ()


def _record(node: Node, parts: list[int]) -> list[int]:
    """A node as the C++ side reads it; parts by number, or negative by place in the records."""
    match node:
        case ByteSet():
            return [BYTE_SET, *struct.unpack("<8i", node.bits.to_bytes(32, "little"))]
        case Literal():
            return [WORDS, 1, len(node.text), *node.text]
        case Words():
            texts = [number for text in node.texts for number in (len(text), *text)]
            return [WORDS, len(node.texts), *texts]
        case Table():
            return [TABLE, node.state, *_rows(node)]
        case Concat():
            return [CONCAT, *parts]
        case Alternation():
            return [ALTERNATION, len(parts), *parts]
        case Intersection():
            return [INTERSECTION, len(parts), *parts]
        case Complement():
            return [COMPLEMENT, *parts]
        case Repeat():
            maximum = UNBOUNDED if node.maximum is None else node.maximum
            return [REPEAT, *parts, node.minimum, maximum]
    raise AssertionError(node)


def _rows(node: Table) -> list[int]:
    data = [len(node.transitions)]
    for state, row in enumerate(node.transitions):
        data += (state in node.accepting, len(row))
        for transition in row:
            data += transition
    return data
