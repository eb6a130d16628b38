"""The characters a pattern speaks of: escapes, bracketed sets, named sets, properties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .pattern_text import PatternText
from .regex_tree import Ranges
from .unicode_sets import (
    ASCII_DIGITS,
    ASCII_WORD,
    ECMA_SPACE,
    EVERY,
    LAST,
    folded,
    having_category,
    inverse,
    python_digits,
    python_space,
    python_word,
    union,
)

Dialect = Literal["python", "ecma"]
CONTROL_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
CATEGORY_NAMES = {
    "Letter": "L", "Lowercase_Letter": "Ll", "Uppercase_Letter": "Lu", "Titlecase_Letter": "Lt",
    "Modifier_Letter": "Lm", "Other_Letter": "Lo", "Mark": "M", "Number": "N", "digit": "Nd",
    "Decimal_Number": "Nd", "Letter_Number": "Nl", "Other_Number": "No", "Punctuation": "P",
    "Symbol": "S", "Currency_Symbol": "Sc", "Math_Symbol": "Sm", "Separator": "Z",
    "Space_Separator": "Zs", "Control": "Cc", "Other": "C",
}  # fmt: skip
CATEGORIES = frozenset(
    "L Ll Lu Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp "
    "C Cc Cf Cs Co Cn".split()
)


@dataclass(slots=True, frozen=True)
class Flags:
    ignore_case: bool = False
    dot_all: bool = False
    multiline: bool = False
    ascii: bool = False
    verbose: bool = False


class CharacterReader:
    """Reads single characters and sets of them out of a pattern.

    Args:
        text: the pattern, advanced by what is read.
        dialect: whose escapes and sets.
    """

    def __init__(self, text: PatternText, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect

    def escaped_set(self, letter: str, position: int, ascii_only: bool) -> Ranges:
        """The characters of an escape, inside a class or outside."""
        if letter in "dws":
            return self.named_set(letter, ascii_only)
        if letter in "DWS":
            return inverse(self.named_set(letter.lower(), ascii_only))
        if letter in "pP":
            ranges = self._property(position)
            return ranges if letter == "p" else inverse(ranges)
        code = self._code_point(letter, position)
        return ((code, code),)

    def named_set(self, letter: str, ascii_only: bool) -> Ranges:
        if self._dialect == "ecma" and letter == "s":
            return ECMA_SPACE
        if ascii_only:
            ascii_sets = {"d": ASCII_DIGITS, "w": ASCII_WORD, "s": ((9, 13), (32, 32))}
            return ascii_sets[letter]
        return {"d": python_digits, "w": python_word, "s": python_space}[letter]()

    def _property(self, position: int) -> Ranges:
        name = self._text.until("}") if self._text.take("{") else self._text.next()
        name = name.removeprefix("General_Category=").removeprefix("gc=")
        category = CATEGORY_NAMES.get(name, name)
        if category == "Any":
            return EVERY
        if category not in CATEGORIES:
            raise self._text.unsupported(f"the property {name!r}", position)
        return having_category(category)

    def _code_point(self, letter: str, position: int) -> int:
        if letter == "0" and self._text.peek().isdigit():
            raise self._text.unsupported("octal escapes", position)
        if letter in CONTROL_ESCAPES:
            return ord(CONTROL_ESCAPES[letter])
        if letter == "a" and self._dialect == "python":
            return 7
        if letter == "x":
            return self._hexadecimal(2, position)
        if letter == "u":
            return self._unicode_escape(position)
        if letter == "U" and self._dialect == "python":
            return self._hexadecimal(8, position)
        if letter == "c" and self._dialect == "ecma" and self._text.peek().isascii():
            return ord(self._text.next()) % 32
        if letter.isascii() and letter.isalnum():
            raise self._text.error(f"unknown escape \\{letter}", position)
        return ord(letter)

    def _unicode_escape(self, position: int) -> int:
        if self._dialect == "ecma" and self._text.take("{"):
            digits = self._text.until("}")
            if not digits or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise self._text.error("bad \\u{...} escape", position)
            code = int(digits, 16)
        else:
            code = self._hexadecimal(4, position)
            if 0xD800 <= code < 0xDC00 and self._text.take("\\u"):
                low = self._hexadecimal(4, position)
                if not 0xDC00 <= low <= 0xDFFF:
                    raise self._text.error("bad surrogate pair", position)
                code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
        if code > LAST:
            raise self._text.error("an escape above U+10FFFF", position)
        return code

    def _hexadecimal(self, count: int, position: int) -> int:
        digits = self._text.text[self._text.at : self._text.at + count]
        if len(digits) < count or not all(d in "0123456789abcdefABCDEF" for d in digits):
            raise self._text.error(f"an escape needs {count} hexadecimal digits", position)
        self._text.at += count
        return int(digits, 16)

    def bracketed(self, position: int, flags: Flags) -> Ranges:
        """The set between brackets; the opening one has been read."""
        negated = self._text.take("^")
        ranges: list[Ranges] = []
        first = True
        while True:
            if self._text.ended:
                raise self._text.error("missing ']'", position)
            if self._text.peek() == "]" and not (first and self._dialect == "python"):
                self._text.at += 1
                break
            first = False
            ranges.append(self._class_range(flags.ascii))
        result = union(*ranges)
        if flags.ignore_case and negated:
            result = folded(result, flags.ascii)
        return inverse(result) if negated else result

    def _class_range(self, ascii_only: bool) -> Ranges:
        position = self._text.at
        low = self._class_item(ascii_only)
        if self._text.peek() != "-" or self._text.text[self._text.at + 1 : self._text.at + 2] in (
            "]",
            "",
        ):
            return low
        self._text.at += 1
        high = self._class_item(ascii_only)
        if not (len(low) == len(high) == 1 and low[0][0] == low[0][1] and high[0][0] == high[0][1]):
            if self._dialect == "ecma":  # a hyphen beside a class stands for itself
                return union(low, high, ((45, 45),))
            raise self._text.error("a range between classes", position)
        if high[0][0] < low[0][0]:
            raise self._text.error("a range in the wrong order", position)
        return ((low[0][0], high[0][0]),)

    def _class_item(self, ascii_only: bool) -> Ranges:
        position = self._text.at
        character = self._text.next()
        if character != "\\":
            return ((ord(character), ord(character)),)
        letter = self._text.next()
        if letter == "b":
            return ((8, 8),)
        return self.escaped_set(letter, position, ascii_only)
