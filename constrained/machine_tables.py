"""What a machine has been given of its network, as bytes: a grammar that need not be compiled.

Only numbers and texts, so reading it executes nothing.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .language_records import Records, written
from .regex_tree import Node

Texts = tuple[bytes, ...]
PLACE, CAPTURE = range(2)  # kinds of what is given
LENGTH = struct.Struct("<q")


@dataclass(slots=True, frozen=True)
class GivenPlace:
    """One place, as ``machine_set_place`` takes it.

    Args:
        number: its number.
        automaton: the language or the literals that its automaton follows; in what was read from
            disk an index of ``MachineTables.roots``, or as -1 - n of ``literals``.
        also: the place of further edges, -1 for none.
        num_edges: how many edges ``edges`` spells.
        edges: for each whether it captures, the number of targets, and these as pairs of numbers.
    """

    number: int
    automaton: Node | Texts | int
    also: int
    num_edges: int
    edges: array[int]


@dataclass(slots=True, frozen=True)
class GivenCapture:
    """That the targets of an edge after a captured text were asked for, which numbers states."""

    number: int
    label: int
    text: bytes


Given = GivenPlace | GivenCapture


@dataclass(slots=True, frozen=True)
class MachineTables:
    """All that was given, in order, and the languages and literals that it speaks of.

    Args:
        records: the languages.
        roots: index of a record for each language of a place.
        literals: the texts of each trie.
        given: the places and captures.
    """

    records: Records
    roots: Sequence[int]
    literals: Sequence[Texts]
    given: Sequence[Given]


def encoded(given: Sequence[Given]) -> bytes:
    """What was given, as bytes."""
    places = [entry for entry in given if isinstance(entry, GivenPlace)]
    lexemes = {p.automaton: None for p in places if isinstance(p.automaton, Node)}
    literals = {p.automaton: None for p in places if isinstance(p.automaton, tuple)}
    records, indices = written(lexemes, {})
    number_of: dict[object, int] = {node: index for index, node in enumerate(lexemes)}
    number_of |= {texts: -1 - index for index, texts in enumerate(literals)}
    numbers, texts = array("i"), list[bytes]()
    for entry in given:
        if isinstance(entry, GivenPlace):
            automaton = number_of[entry.automaton]
            head = (PLACE, entry.number, automaton, entry.also, entry.num_edges, len(entry.edges))
            numbers.extend(head)
            numbers.extend(entry.edges)
        else:
            numbers.extend((CAPTURE, entry.number, entry.label))
            texts.append(entry.text)
    parts = [
        records.data.tobytes(),
        array("i", (records.count, *map(indices.__getitem__, lexemes))).tobytes(),
        numbers.tobytes(),
        *texts,
    ]
    return _packed([_packed(parts), *(_packed(texts) for texts in literals)])


def decoded(data: bytes) -> MachineTables:
    """The inverse of ``encoded``.

    Raises:
        ValueError: the bytes are something else.
    """
    try:
        first, *packed_literals = _unpacked(data)
        record_data, root_data, number_data, *texts = _unpacked(first)
        count, *roots = array("i", root_data)
        records = Records(array("i", record_data), count)
        given = list(_entries(array("i", number_data), iter(texts)))
        literals = [tuple(_unpacked(packed)) for packed in packed_literals]
    except (struct.error, IndexError, StopIteration) as error:
        raise ValueError("not the tables of a machine") from error
    return MachineTables(records, roots, literals, given)


def _entries(numbers: array[int], texts: Iterator[bytes]) -> Iterator[Given]:
    at = 0
    while at < len(numbers):
        if numbers[at] == CAPTURE:
            yield GivenCapture(numbers[at + 1], numbers[at + 2], next(texts))
            at += 3
            continue
        number, automaton, also, num_edges, length = numbers[at + 1 : at + 6]
        at += 6 + length
        yield GivenPlace(number, automaton, also, num_edges, numbers[at - length : at])


def _packed(parts: Sequence[bytes]) -> bytes:
    return b"".join(piece for part in parts for piece in (LENGTH.pack(len(part)), part))


def _unpacked(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(data):
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size + length
        if length < 0 or at > len(data):
            raise ValueError("not the tables of a machine")
        parts.append(data[at - length : at])
    return parts
