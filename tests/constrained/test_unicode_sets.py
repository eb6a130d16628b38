"""Sets of code points, against what Python says of each character."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable

import numpy as np
import pytest

from sglang_lang.constrained.derivatives import matches
from sglang_lang.constrained.regex_tree import Literal, Ranges
from sglang_lang.constrained.unicode_sets import (
    folded,
    having_category,
    inverse,
    python_digits,
    python_space,
    python_word,
    utf8,
)

CHARACTERS = [*map(chr, range(sys.maxunicode + 1))]


def members(ranges: Ranges) -> set[int]:
    return {code for low, high in ranges for code in range(low, high + 1)}


@pytest.mark.parametrize(
    ("ranges", "holds"),
    [
        (python_word(), lambda character: character.isalnum() or character == "_"),
        (python_digits(), str.isdecimal),
        (python_space(), str.isspace),
    ],
    ids=["word", "digits", "space"],
)
def test_classes_of_characters_are_those_of_str(
    ranges: Ranges, holds: Callable[[str], bool]
) -> None:
    assert members(ranges) == {code for code, c in enumerate(CHARACTERS) if holds(c)}


def test_categories_are_those_of_unicodedata() -> None:
    names = np.array([*map(unicodedata.category, CHARACTERS)])
    for name in np.unique(names).tolist():
        expected = np.zeros(len(names), bool)
        for low, high in having_category(name):
            expected[low : high + 1] = True
        assert (expected == (names == name)).all(), name


def test_other_cases_of_a_letter_are_found() -> None:
    cased = [c for c in CHARACTERS if c.lower() != c and len(c.lower()) == 1]
    for character in np.random.default_rng(0).choice(cased, 40).tolist():
        group = members(folded(((ord(character), ord(character)),)))
        assert {ord(character), ord(character.lower())} <= group
        assert {chr(code).casefold() for code in group} == {character.casefold()}
    assert members(folded(((ord("k"), ord("k")),))) == {ord("k"), ord("K"), ord("\u212a")}


def test_utf8_of_a_set_is_that_of_its_members() -> None:
    ranges = inverse(((0x2F, 0x2F), (0x700, 0x7FFF), (0x1F600, 0x1F64F)))
    for character in "/.aé߿ࠀ翿耀\U0001f5ff😀\U0001f650\U0010ffff":
        inside = any(low <= ord(character) <= high for low, high in ranges)
        assert matches(utf8(ranges), character.encode()) == inside, character
    assert isinstance(utf8(((0xE9, 0xE9),)), Literal)
    assert not matches(utf8(((0xD800, 0xD800),)), b"\xed\xa0\x80")
