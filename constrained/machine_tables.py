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
PLACE, CAPTURE, TARGETS = range(3)  # kinds of what is given
NONE = -1  # no place
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
        edges: for each whether it captures, the number of targets, and these as pairs of numbers;
            the number is -1 where the targets are given by themselves.
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


@dataclass(slots=True, frozen=True)
class GivenTargets:
    """The targets of an edge, as ``machine_set_targets`` takes them."""

    number: int
    label: int
    targets: array[int]


Given = GivenPlace | GivenCapture | GivenTargets


@dataclass(slots=True, frozen=True)
class MachineTables:
    """All that was given, in order, and the languages and literals that it speaks of.

    Args:
        records: the languages.
        roots: index of a record for each language of a place.
        literals: the texts of each trie.
        given: the places and captures.
        is_closed: they are all there is, whatever the text.
    """

    records: Records
    roots: Sequence[int]
    literals: Sequence[Texts]
    given: Sequence[Given]
    is_closed: bool


def encoded(given: Sequence[Given]) -> bytes:
    """What was given, as bytes."""
    places = [entry for entry in given if isinstance(entry, GivenPlace)]
    lexemes = {p.automaton: None for p in places if isinstance(p.automaton, Node)}
    literals = {p.automaton: None for p in places if isinstance(p.automaton, tuple)}
    records, indices = written(lexemes, {})
    number_of: dict[object, int] = {node: index for index, node in enumerate(lexemes)}
    number_of |= {texts: -1 - index for index, texts in enumerate(literals)}
    roots = map(indices.__getitem__, lexemes)
    numbers, texts = array("i"), list[bytes]()
    for entry in given:
        if isinstance(entry, GivenPlace):
            automaton = number_of[entry.automaton]
            head = (PLACE, entry.number, automaton, entry.also, entry.num_edges, len(entry.edges))
            numbers.extend(head)
            numbers.extend(entry.edges)
        elif isinstance(entry, GivenTargets):
            numbers.extend((TARGETS, entry.number, entry.label, len(entry.targets)))
            numbers.extend(entry.targets)
        else:
            numbers.extend((CAPTURE, entry.number, entry.label))
            texts.append(entry.text)
    parts = [
        records.data.tobytes(),
        array("i", (records.count, _is_closed(given), *roots)).tobytes(),
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
        count, is_closed, *roots = array("i", root_data)
        records = Records(array("i", record_data), count)
        given = list(_entries(array("i", number_data), iter(texts)))
        literals = [tuple(_unpacked(packed)) for packed in packed_literals]
    except (struct.error, IndexError, StopIteration) as error:
        raise ValueError("not the tables of a machine") from error
    return MachineTables(records, roots, literals, given, bool(is_closed))


def _is_closed(given: Sequence[Given]) -> bool:
    """Whether every place that a text can lead to is among these, and no text is captured."""
    places = [entry for entry in given if isinstance(entry, GivenPlace)]
    late = {(e.number, e.label): e.targets for e in given if isinstance(e, GivenTargets)}
    numbers = {place.number for place in places} | {NONE}
    for place in places:
        at = 0
        for label in range(place.num_edges):
            captures, num_targets = place.edges[at : at + 2]
            at += 2 + 2 * max(num_targets, 0)
            targets = place.edges[at - 2 * num_targets : at]
            if num_targets < 0:
                if (place.number, label) not in late:
                    return False
                targets = late[place.number, label][1:]
            if captures or not numbers.issuperset(targets):
                return False
    return True


def _entries(numbers: array[int], texts: Iterator[bytes]) -> Iterator[Given]:
    at = 0
    while at < len(numbers):
        kind, number, label = numbers[at : at + 3]
        if kind == CAPTURE:
            yield GivenCapture(number, label, next(texts))
            at += 3
        elif kind == TARGETS:
            first, at = at + 4, at + 4 + numbers[at + 3]
            yield GivenTargets(number, label, numbers[first:at])
        else:
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
