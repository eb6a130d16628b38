"""Text of a regular expression to its syntax, in Python's dialect or in ECMA-262's (flag ``u``).

Greedy, lazy and named groups make no difference to which texts match. What is not regular, or
not known, is refused with its position.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .errors import GrammarError, UnsupportedGrammarError
from .regex_syntax import (
    EMPTY,
    Branches,
    Characters,
    Counted,
    Edge,
    Look,
    Sequence,
    Syntax,
    WordBoundary,
)
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
MAX_GROUP_DEPTH = 100
MAX_REPEAT = 100_000
CONTROL_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
NEWLINES = {"python": ((10, 10),), "ecma": ((10, 10), (13, 13), (0x2028, 0x2029))}
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


FLAG_NAMES = {
    "i": "ignore_case",
    "s": "dot_all",
    "m": "multiline",
    "a": "ascii",
    "u": None,
    "x": "verbose",
}


def parse_regex(pattern: str, dialect: Dialect) -> Syntax:
    """Parses a pattern.

    Raises:
        GrammarError: a mistake in the pattern, with its position.
        UnsupportedGrammarError: a construct that no automaton can follow, or that is not known.
    """
    return _Parser(pattern, dialect).parse()


class _Parser:
    """Recursive descent over one pattern."""

    def __init__(self, pattern: str, dialect: Dialect) -> None:
        self._text = pattern
        self._at = 0
        self._dialect = dialect
        self._flags = Flags(ascii=dialect == "ecma")
        self._depth = 0

    def parse(self) -> Syntax:
        syntax = self._branches()
        if self._at < len(self._text):
            raise self._error("unbalanced ')'")
        return syntax

    # structure

    def _branches(self) -> Syntax:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Branches(tuple(options))

    def _sequence(self) -> Syntax:
        parts: list[Syntax] = []
        while self._at < len(self._text) and self._peek() not in "|)":
            if self._flags.verbose and self._skip_comment():
                continue
            atom = self._atom()
            parts.append(self._quantified(atom) if atom is not EMPTY else atom)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _atom(self) -> Syntax:
        position = self._at
        character = self._next()
        match character:
            case "(":
                return self._group(position)
            case "[":
                return self._characters(self._class(position))
            case ".":
                newlines = () if self._flags.dot_all else NEWLINES[self._dialect]
                return Characters(inverse(newlines))
            case "^" | "$":
                if self._flags.multiline:
                    raise self._unsupported("anchors of lines, (?m)", position)
                return Edge("start" if character == "^" else "end", position)
            case "\\":
                return self._escape(position)
            case "*" | "+" | "?":
                raise self._error("nothing to repeat", position)
        return self._characters(((ord(character), ord(character)),))

    def _quantified(self, atom: Syntax) -> Syntax:
        while True:
            position = self._at
            bounds = self._quantifier()
            if bounds is None:
                return atom
            minimum, maximum = bounds
            if maximum is not None and maximum < minimum:
                raise self._error("the bounds of a repeat are in the wrong order", position)
            if max(minimum, maximum or 0) > MAX_REPEAT:
                raise self._error(f"a repeat of more than {MAX_REPEAT}", position)
            if isinstance(atom, Edge | WordBoundary):
                raise self._error("an assertion cannot be repeated", position)
            self._take("?")  # lazy: the same texts
            if self._peek() == "+" and self._dialect == "python":
                raise self._unsupported("possessive quantifiers", self._at)
            if self._peek() in tuple("*+?") or self._bounds_ahead():
                raise self._error("multiple repeat", self._at)
            atom = Counted(atom, minimum, maximum, position)

    def _quantifier(self) -> tuple[int, int | None] | None:
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        return self._bounds()

    def _bounds_ahead(self) -> bool:
        start = self._at
        found = self._bounds() is not None
        self._at = start
        return found

    def _bounds(self) -> tuple[int, int | None] | None:
        """``{m}``, ``{m,}``, ``{m,n}``, in Python also ``{,n}``; else a brace is a character."""
        start = self._at
        if not self._take("{"):
            return None
        low = self._digits()
        comma = self._take(",")
        high = self._digits() if comma else low
        if not self._take("}") or not (low or (comma and high and self._dialect == "python")):
            self._at = start
            return None
        return int(low or 0), int(high) if high else None

    def _group(self, position: int) -> Syntax:
        self._depth += 1
        if self._depth > MAX_GROUP_DEPTH:
            raise self._error(f"groups nested deeper than {MAX_GROUP_DEPTH}", position)
        outer = self._flags
        look: tuple[bool, bool] | None = None
        if self._take("?"):
            look = self._group_kind(position)
            if self._text[self._at - 1] == ")":  # a comment, or flags for the rest
                self._depth -= 1
                return EMPTY
        syntax = self._branches()
        if not self._take(")"):
            raise self._error("missing ')'", position)
        self._flags = outer
        self._depth -= 1
        return syntax if look is None else Look(syntax, *look, position)

    def _group_kind(self, position: int) -> tuple[bool, bool] | None:
        """Reads what follows ``(?``; for a lookaround gives (behind, negated)."""
        for opening, look in (
            ("=", (False, False)),
            ("!", (False, True)),
            ("<=", (True, False)),
            ("<!", (True, True)),
        ):
            if self._take(opening):
                return look
        if self._take(":"):
            return None
        if self._take("<") or self._take("P<"):
            name = self._until(">")
            if not name.isidentifier():
                raise self._error(f"bad group name {name!r}", position)
            return None
        if self._dialect == "python":
            if self._take("#"):
                self._until(")")
                return None
            if self._peek() and self._peek() in "imsxau-":
                self._read_flags(position)
                return None
        raise self._unsupported(f"(?{self._peek()}", position)

    def _read_flags(self, position: int) -> None:
        """``(?i)`` for the rest of the group, ``(?i-s:`` for a group."""
        flags, value = self._flags, True
        while (letter := self._next()) not in (":", ")"):
            if letter == "-":
                value = False
            elif letter not in FLAG_NAMES:
                raise self._error(f"unknown flag {letter!r}", position)
            elif (name := FLAG_NAMES[letter]) is not None:
                flags = replace(flags, **{name: value})
        self._flags = flags

    # characters

    def _characters(self, ranges: Ranges) -> Syntax:
        return Characters(folded(ranges) if self._flags.ignore_case else ranges)

    def _escape(self, position: int) -> Syntax:
        letter = self._next()
        if letter in "bB":
            return WordBoundary(self._named_set("w"), letter == "B", position)
        if self._dialect == "python" and letter in "AZ":
            return Edge("start" if letter == "A" else "end", position)
        if letter in "123456789" or (letter == "k" and self._peek() == "<"):
            raise self._unsupported("backreferences", position)
        return self._characters(self._escaped_set(letter, position))

    def _escaped_set(self, letter: str, position: int) -> Ranges:
        """The characters of an escape, inside a class or outside."""
        if letter in "dws":
            return self._named_set(letter)
        if letter in "DWS":
            return inverse(self._named_set(letter.lower()))
        if letter in "pP":
            ranges = self._property(position)
            return ranges if letter == "p" else inverse(ranges)
        code = self._code_point(letter, position)
        return ((code, code),)

    def _named_set(self, letter: str) -> Ranges:
        if self._dialect == "ecma" and letter == "s":
            return ECMA_SPACE
        if self._flags.ascii:
            ascii_sets = {"d": ASCII_DIGITS, "w": ASCII_WORD, "s": ((9, 13), (32, 32))}
            return ascii_sets[letter]
        return {"d": python_digits, "w": python_word, "s": python_space}[letter]()

    def _property(self, position: int) -> Ranges:
        name = self._until("}") if self._take("{") else self._next()
        name = name.removeprefix("General_Category=").removeprefix("gc=")
        category = CATEGORY_NAMES.get(name, name)
        if category == "Any":
            return EVERY
        if category not in CATEGORIES:
            raise self._unsupported(f"the property {name!r}", position)
        return having_category(category)

    def _code_point(self, letter: str, position: int) -> int:
        if letter == "0" and self._peek().isdigit():
            raise self._unsupported("octal escapes", position)
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
        if letter == "c" and self._dialect == "ecma" and self._peek().isascii():
            return ord(self._next()) % 32
        if letter.isascii() and letter.isalnum():
            raise self._error(f"unknown escape \\{letter}", position)
        return ord(letter)

    def _unicode_escape(self, position: int) -> int:
        if self._dialect == "ecma" and self._take("{"):
            digits = self._until("}")
            if not digits or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise self._error("bad \\u{...} escape", position)
            code = int(digits, 16)
        else:
            code = self._hexadecimal(4, position)
            if 0xD800 <= code < 0xDC00 and self._take("\\u"):
                low = self._hexadecimal(4, position)
                if not 0xDC00 <= low <= 0xDFFF:
                    raise self._error("bad surrogate pair", position)
                code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
        if code > LAST:
            raise self._error("an escape above U+10FFFF", position)
        return code

    def _hexadecimal(self, count: int, position: int) -> int:
        digits = self._text[self._at : self._at + count]
        if len(digits) < count or not all(d in "0123456789abcdefABCDEF" for d in digits):
            raise self._error(f"an escape needs {count} hexadecimal digits", position)
        self._at += count
        return int(digits, 16)

    def _class(self, position: int) -> Ranges:
        """The set between brackets; the opening one has been read."""
        negated = self._take("^")
        ranges: list[Ranges] = []
        first = True
        while True:
            if self._at >= len(self._text):
                raise self._error("missing ']'", position)
            if self._peek() == "]" and not (first and self._dialect == "python"):
                self._at += 1
                break
            first = False
            ranges.append(self._class_range(position))
        result = union(*ranges)
        if self._flags.ignore_case and negated:
            result = folded(result)
        return inverse(result) if negated else result

    def _class_range(self, position: int) -> Ranges:
        low = self._class_item()
        if self._peek() != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return low
        self._at += 1
        high = self._class_item()
        if not (len(low) == len(high) == 1 and low[0][0] == low[0][1] and high[0][0] == high[0][1]):
            if self._dialect == "ecma":  # a hyphen beside a class stands for itself
                return union(low, high, ((45, 45),))
            raise self._error("a range between classes", position)
        if high[0][0] < low[0][0]:
            raise self._error("a range in the wrong order", position)
        return ((low[0][0], high[0][0]),)

    def _class_item(self) -> Ranges:
        position = self._at
        character = self._next()
        if character != "\\":
            return ((ord(character), ord(character)),)
        letter = self._next()
        if letter == "b":
            return ((8, 8),)
        return self._escaped_set(letter, position)

    # text

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise self._error("the pattern ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _digits(self) -> str:
        start = self._at
        while self._peek().isascii() and self._peek().isdigit():
            self._at += 1
        if self._at - start > 9:
            raise self._error(f"a repeat of more than {MAX_REPEAT}", start)
        return self._text[start : self._at]

    def _until(self, end: str) -> str:
        stop = self._text.find(end, self._at)
        if stop < 0:
            raise self._error(f"missing {end!r}")
        found = self._text[self._at : stop]
        self._at = stop + 1
        return found

    def _skip_comment(self) -> bool:
        if self._peek() == "#":
            line = self._text.find("\n", self._at)
            self._at = len(self._text) if line < 0 else line
            return True
        return self._take(self._peek()) if self._peek().isspace() else False

    def _error(self, message: str, position: int | None = None) -> GrammarError:
        place = self._at if position is None else position
        return GrammarError(f"regex: {message}, at position {place}", position=place)

    def _unsupported(self, construct: str, position: int) -> UnsupportedGrammarError:
        return UnsupportedGrammarError(
            f"regex: {construct} not supported, at position {position}", position=position
        )
