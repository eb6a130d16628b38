"""Languages of JSON numbers: bounds, divisors and constants as regular languages of decimal text.

Constrained numbers are spelled without an exponent, and zero without a sign, so that the sets
here hold all spellings of a value or none: complement and intersection are exact.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from ..regex_tree import (
    EPSILON,
    Node,
    alternate,
    byte_range,
    complement,
    concat,
    intersect,
    literal,
    optional,
    repeat,
    table,
)

MAX_DIVISOR_STATES = 16384
MAX_DIGITS = 400
MAX_KEPT = 1024  # languages that schemas have asked for before


DIGIT = byte_range(ord("0"), ord("9"))
NONZERO = byte_range(ord("1"), ord("9"))
ANY_DIGITS = repeat(DIGIT, 0, None)
ZEROS = repeat(literal("0"), 0, None)
POINT = literal(".")
MINUS = literal("-")
FRACTION = concat(POINT, repeat(DIGIT, 1, None))
NONZERO_FRACTION = concat(POINT, ANY_DIGITS, NONZERO, ANY_DIGITS)
ZERO_FRACTION = concat(POINT, repeat(literal("0"), 1, None))
NATURAL = concat(NONZERO, ANY_DIGITS)


PLAIN_INTEGER = alternate(literal("0"), concat(optional(MINUS), NATURAL))
INTEGER = concat(PLAIN_INTEGER, optional(ZERO_FRACTION))
NONNEGATIVE = concat(alternate(literal("0"), NATURAL), optional(FRACTION))
DECIMAL = alternate(
    NONNEGATIVE,
    concat(MINUS, NATURAL, optional(FRACTION)),
    concat(MINUS, literal("0"), NONZERO_FRACTION),
)
CANONICAL_NUMBER = alternate(
    PLAIN_INTEGER,
    concat(optional(MINUS), alternate(literal("0"), NATURAL), POINT, ANY_DIGITS, NONZERO),
)
EXPONENT = concat(
    alternate(literal("e"), literal("E")),
    optional(alternate(literal("+"), MINUS)),
    repeat(DIGIT, 1, 3),
)
NUMBER = alternate(DECIMAL, concat(DECIMAL, EXPONENT))


@lru_cache(MAX_KEPT)
def equal_to(value: Decimal) -> Node:
    """Every spelling of one number."""
    integer, fraction = _split(abs(value))
    sign = MINUS if value < 0 else EPSILON
    if not fraction:
        return concat(sign, literal(integer), optional(ZERO_FRACTION))
    return concat(sign, literal(integer), POINT, literal(fraction), ZEROS)


@lru_cache(MAX_KEPT)
def at_least(value: Decimal, *, strict: bool) -> Node:
    """Numbers ``>= value``, or ``> value`` if strict."""
    if value >= 0:
        return _magnitude_at_least(value, strict)
    below = concat(MINUS, _magnitude_at_least(-value, not strict))
    return intersect(DECIMAL, complement(below))


@lru_cache(MAX_KEPT)
def at_most(value: Decimal, *, strict: bool) -> Node:
    """Numbers ``<= value``, or ``< value`` if strict."""
    return intersect(DECIMAL, complement(at_least(value, strict=not strict)))


@lru_cache(MAX_KEPT)
def multiple_of(divisor: Decimal) -> Node | None:
    """Multiples of a positive number, or None where their automaton would be too large.

    The automaton follows the remainder of the digits read so far. With divisor ``a / 10**k``, a
    number of j <= k fraction digits is a multiple when ``digits * 10**(k - j)`` is one of a, and
    from the k-th fraction digit on only zeros may follow.
    """
    places, number = _scaled(divisor)
    if number * (places + 2) > MAX_DIVISOR_STATES:
        return _multiple_of_power_of_ten(number, places)
    return _divisor_automaton(number, places)


def _divisor_automaton(number: int, places: int) -> Node:
    """States: remainder r before the point, then one block of remainders per fraction digit."""

    def state(block: int, remainder: int) -> int:
        return block * number + remainder

    rows: list[tuple[tuple[int, int], ...]] = []
    accepting: set[int] = set()
    for block in range(places + 2):  # 0 = integer part, 1 = just after the point, ...
        read = max(block - 1, 0)
        for remainder in range(number):
            row = []
            for digit in range(10):
                follow = (10 * remainder + digit) % number
                if block == 0:
                    row.append((ord("0") + digit, state(0, follow)))
                elif read < places:
                    row.append((ord("0") + digit, state(block + 1, follow)))
                elif digit == 0:
                    row.append((ord("0"), state(block, remainder)))
            if block == 0:
                row.append((ord("."), state(1, remainder)))
            rows.append(tuple(row))
            if remainder * 10 ** (places - read) % number == 0:
                accepting.add(state(block, remainder))
    multiples = table(tuple(rows), frozenset(accepting))
    return intersect(DECIMAL, concat(optional(MINUS), multiples))


def _multiple_of_power_of_ten(number: int, places: int) -> Node | None:
    zeros = len(str(number)) - 1
    if places or number != 10**zeros:
        return None
    integer = alternate(
        literal("0"),
        concat(optional(MINUS), NATURAL, literal("0" * zeros)),
        concat(optional(MINUS), literal(str(number))),
    )
    return concat(integer, optional(ZERO_FRACTION))


def _magnitude_at_least(value: Decimal, strict: bool) -> Node:
    integer, fraction = _split(value)
    longer = concat(NONZERO, repeat(DIGIT, len(integer), None), optional(FRACTION))
    equal = _fraction_at_least(fraction, strict)
    for position in range(len(integer) - 1, -1, -1):
        digit = integer[position]
        rest = len(integer) - position - 1
        equal = concat(literal(digit), equal)
        if digit != "9":
            larger = byte_range(ord(digit) + 1, ord("9"))
            tail = concat(repeat(DIGIT, rest, rest), optional(FRACTION))
            equal = alternate(equal, concat(larger, tail))
    return alternate(longer, equal)


def _fraction_at_least(fraction: str, strict: bool) -> Node:
    if not fraction:
        return NONZERO_FRACTION if strict else optional(FRACTION)
    result = concat(ANY_DIGITS, NONZERO, ANY_DIGITS) if strict else ANY_DIGITS
    for digit in reversed(fraction):
        result = concat(literal(digit), result)
        if digit != "9":
            larger = byte_range(ord(digit) + 1, ord("9"))
            result = alternate(result, concat(larger, ANY_DIGITS))
    return concat(POINT, result)


def _split(value: Decimal) -> tuple[str, str]:
    """Digits of a non-negative number before and after the point, without trailing zeros."""
    integer, _, fraction = format(value, "f").partition(".")
    return integer, fraction.rstrip("0")


def _scaled(value: Decimal) -> tuple[int, int]:
    """``(k, a)`` with ``value == a / 10**k`` and k as small as can be."""
    integer, fraction = _split(value)
    return len(fraction), int(integer + fraction)
