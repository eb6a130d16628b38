"""Sets of code points: arithmetic on ranges, Unicode classes, and their UTF-8."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np

from .regex_tree import Node, Ranges, alternate, byte_set, concat, literal

LAST = sys.maxunicode
LAST_CASED = 0x1E943  # no letter above it has another case
CASE_BLOCK = 128
VARIED_PLANES = ((0, 0x3FFFF), (0xE0000, 0xEFFFF))
BARE_PLANES: tuple[tuple[str, Ranges], ...] = (  # between and after them
    ("Cn", ((0x40000, 0xDFFFF), (0xFFFFE, 0xFFFFF), (0x10FFFE, LAST))),
    ("Co", ((0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))),
)
EVERY: Ranges = ((0, LAST),)
ASCII_DIGITS: Ranges = ((0x30, 0x39),)
ASCII_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
ECMA_SPACE: Ranges = (
    (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
    (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
FIRST_LONG = 0x80  # the first code point of more than one byte
ENCODED_LENGTHS = ((FIRST_LONG, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, LAST))
CONTINUATION = (0x80, 0xBF)


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted disjoint ranges of everything in the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pair for pairs in sets for pair in pairs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def inverse(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Every code point that is not in the ranges."""
    result = []
    start = 0
    for low, high in union(ranges):
        if low > start:
            result.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        result.append((start, LAST))
    return tuple(result)


@lru_cache(256)
def having_category(prefix: str) -> Ranges:
    """Code points whose general category starts with ``prefix`` (``L``, ``Lu``, ``Nd`` ...)."""
    return union(*(found for name, found in _categories().items() if name.startswith(prefix)))


@lru_cache(1)
def _categories() -> dict[str, Ranges]:
    """The code points of every general category; one pass over the planes that have any."""
    found: dict[str, list[tuple[int, int]]] = {name: [*pairs] for name, pairs in BARE_PLANES}
    for low, high in VARIED_PLANES:
        names = "".join(map(unicodedata.category, _characters(low, high)))
        pairs = np.frombuffer(names.encode(), np.uint16)  # two letters each
        starts = [0, *(np.flatnonzero(np.diff(pairs)) + 1).tolist(), len(pairs)]
        for start, end in pairwise(starts):
            found.setdefault(names[2 * start : 2 * start + 2], []).append(
                (low + start, low + end - 1)
            )
    return {name: union(pairs) for name, pairs in found.items()}


def _characters(low: int, high: int) -> str:
    codes = np.arange(low, high + 1, dtype="<u4").tobytes()
    return codes.decode("utf-32-le", "surrogatepass")


@lru_cache(1)
def python_word() -> Ranges:
    """What ``\\w`` of Python's ``re`` matches in text."""
    return _matching(r"\w+")


@lru_cache(1)
def python_digits() -> Ranges:
    return _matching(r"\d+")


@lru_cache(1)
def python_space() -> Ranges:
    return _matching(r"\s+")


def _matching(run: str) -> Ranges:
    """The code points that a pattern of Python matches runs of."""
    return union(
        (low + at.start(), low + at.end() - 1)
        for low, high in VARIED_PLANES
        for at in re.finditer(run, _characters(low, high))
    )


@lru_cache(4096)
def folded(ranges: Ranges, ascii_only: bool = False) -> Ranges:
    """The ranges with the other cases of their letters, as Python's ``re`` sees them.

    Closed: the inverse of a folded set is folded too.
    """
    limit = 0x80 if ascii_only else LAST + 1
    extra = []
    for whole in _case_groups():
        group = [code for code in whole if code < limit]
        if any(low <= code <= high for code in group for low, high in ranges):
            extra += [(code, code) for code in group]
    return union(ranges, extra)


@lru_cache(1)
def _case_groups() -> tuple[tuple[int, ...], ...]:
    """Code points that differ in case only, each group ascending."""
    groups: dict[int, set[int]] = {}
    first_of: dict[str, str] = {}  # the first character with that full case folding
    for character in _cased_characters():
        same = first_of.setdefault(character.casefold(), character)
        for other in (character.lower()[0], character.upper(), same):
            if other != character and len(other) == 1:
                code = ord(character)
                joined = {code, ord(other)}
                joined |= groups.get(code, set()) | groups.get(ord(other), set())
                groups.update(dict.fromkeys(joined, joined))
    return tuple(sorted({tuple(sorted(group)) for group in groups.values()}))


def _cased_characters() -> Iterator[str]:
    """The characters of all blocks in which one has another case."""
    for start in range(0, LAST_CASED + 1, CASE_BLOCK):
        block = _characters(start, min(start + CASE_BLOCK - 1, LAST_CASED))
        if not block == block.lower() == block.upper() == block.casefold():
            yield from block


Sequence = tuple[tuple[int, int], ...]  # byte ranges of one encoded length


@lru_cache(4096)
def utf8(ranges: Ranges) -> Node:
    """The UTF-8 of one code point of the ranges; surrogates have none."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1] and not _is_surrogate(ranges[0][0]):
        return literal(chr(ranges[0][0]))
    ascii_bits = 0
    for low, high in ranges:
        if low < FIRST_LONG:
            ascii_bits |= (2 << min(high, FIRST_LONG - 1)) - (1 << low)
    longer = tuple((max(low, FIRST_LONG), high) for low, high in ranges if high >= FIRST_LONG)
    return alternate(byte_set(ascii_bits), _long_utf8(longer))


def _is_surrogate(code: int) -> bool:
    return 0xD800 <= code < 0xE000


@lru_cache(4096)
def _long_utf8(ranges: Ranges) -> Node:
    """The UTF-8 beyond ASCII, which most negated sets share."""
    sequences: list[Sequence] = []
    for low, high in ranges:
        for first, last in _encodable(low, high):
            sequences += _sequences(chr(first).encode(), chr(last).encode())
    return _tree(tuple(sequences))


def _encodable(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Pieces of a range whose members have equally long encodings."""
    for first, last in ENCODED_LENGTHS:
        if max(low, first) <= min(high, last):
            yield max(low, first), min(high, last)


def _sequences(low: bytes, high: bytes) -> list[Sequence]:
    """The byte sequences between two encodings of one length."""
    rest = len(low) - 1
    if rest == 0:
        return [((low[0], high[0]),)]
    if low[0] == high[0]:
        head = (low[0], low[0])
        return [(head, *tail) for tail in _sequences(low[1:], high[1:])]
    first, last = low[0], high[0]
    pieces: list[Sequence] = []
    if low[1:] != b"\x80" * rest:
        pieces += _sequences(low, bytes((first,)) + b"\xbf" * rest)
        first += 1
    upper = []
    if high[1:] != b"\xbf" * rest:
        upper = _sequences(bytes((last,)) + b"\x80" * rest, high)
        last -= 1
    if first <= last:
        pieces.append(((first, last), *[CONTINUATION] * rest))
    return pieces + upper


def _tree(sequences: tuple[Sequence, ...]) -> Node:
    """The union of sequences, deterministic by the first byte, with equal tails shared."""
    tails: dict[int, list[Sequence]] = {}
    for sequence in sequences:
        low, high = sequence[0]
        for byte in range(low, high + 1):
            tails.setdefault(byte, []).append(sequence[1:])
    bytes_by_tails: dict[tuple[Sequence, ...], int] = {}
    for byte, following in tails.items():
        key = tuple(following)
        bytes_by_tails[key] = bytes_by_tails.get(key, 0) | 1 << byte
    return alternate(
        *(
            byte_set(bits) if key[0] == () else concat(byte_set(bits), _tree(key))
            for key, bits in bytes_by_tails.items()
        )
    )
