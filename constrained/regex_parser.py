"""Text of a regular expression to its syntax, in Python's dialect or in ECMA-262's (flag ``u``).

Greedy, lazy and named groups make no difference to which texts match. What is not regular, or
not known, is refused with its position.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .pattern_text import PatternText
from .regex_characters import CharacterReader, Dialect, Flags
from .regex_syntax import (
    EMPTY,
    Branches,
    Characters,
    Counted,
    Edge,
    Look,
    Sequence,
    Syntax,
    Text,
    WordBoundary,
)
from .regex_tree import Ranges
from .unicode_sets import folded, inverse

PLAIN_RUN = re.compile(r"[^\\^$.|?*+()\[\]{}]{2,}(?![?*+{])")
MAX_GROUP_DEPTH = 100
MAX_REPEAT = 100_000
NEWLINES = {"python": ((10, 10),), "ecma": ((10, 10), (13, 13), (0x2028, 0x2029))}
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
        self._text = PatternText(pattern)
        self._characters_of = CharacterReader(self._text, dialect)
        self._dialect = dialect
        self._flags = Flags(ascii=dialect == "ecma")
        self._depth = 0

    def parse(self) -> Syntax:
        syntax = self._branches()
        if not self._text.ended:
            raise self._text.error("unbalanced ')'")
        return syntax

    def _branches(self) -> Syntax:
        options = [self._sequence()]
        while self._text.take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Branches(tuple(options))

    def _sequence(self) -> Syntax:
        parts: list[Syntax] = []
        while not self._text.ended and self._text.peek() not in "|)":
            if self._flags.verbose and self._skip_comment():
                continue
            run = self._plain_run()
            if run:
                parts.append(Text(run))
                continue
            atom = self._atom()
            parts.append(self._quantified(atom) if atom is not EMPTY else atom)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _plain_run(self) -> str:
        """Reads characters that stand for themselves and are not repeated, where many follow."""
        found = PLAIN_RUN.match(self._text.text, self._text.at)
        if found is None or self._flags.verbose or self._flags.ignore_case:
            return ""
        self._text.at = found.end()
        return found[0]

    def _atom(self) -> Syntax:
        position = self._text.at
        character = self._text.next()
        match character:
            case "(":
                return self._group(position)
            case "[":
                return self._characters(self._characters_of.bracketed(position, self._flags))
            case ".":
                newlines = () if self._flags.dot_all else NEWLINES[self._dialect]
                return Characters(inverse(newlines))
            case "^" | "$":
                if self._flags.multiline:
                    raise self._text.unsupported("anchors of lines, (?m)", position)
                return Edge("start" if character == "^" else "end", position)
            case "\\":
                return self._escape(position)
            case "*" | "+" | "?":
                raise self._text.error("nothing to repeat", position)
        return self._characters(((ord(character), ord(character)),))

    def _quantified(self, atom: Syntax) -> Syntax:
        while True:
            position = self._text.at
            bounds = self._quantifier()
            if bounds is None:
                return atom
            minimum, maximum = bounds
            if maximum is not None and maximum < minimum:
                raise self._text.error("the bounds of a repeat are in the wrong order", position)
            if max(minimum, maximum or 0) > MAX_REPEAT:
                raise self._text.error(f"a repeat of more than {MAX_REPEAT}", position)
            if isinstance(atom, Edge | WordBoundary):
                raise self._text.error("an assertion cannot be repeated", position)
            self._text.take("?")  # lazy: the same texts
            if self._text.peek() == "+" and self._dialect == "python":
                raise self._text.unsupported("possessive quantifiers", self._text.at)
            if self._text.peek() in tuple("*+?") or self._bounds_ahead():
                raise self._text.error("multiple repeat", self._text.at)
            atom = Counted(atom, minimum, maximum, position)

    def _quantifier(self) -> tuple[int, int | None] | None:
        if self._text.take("*"):
            return 0, None
        if self._text.take("+"):
            return 1, None
        if self._text.take("?"):
            return 0, 1
        return self._bounds()

    def _bounds_ahead(self) -> bool:
        start = self._text.at
        found = self._bounds() is not None
        self._text.at = start
        return found

    def _bounds(self) -> tuple[int, int | None] | None:
        """``{m}``, ``{m,}``, ``{m,n}``, in Python also ``{,n}``; else a brace is a character."""
        start = self._text.at
        if not self._text.take("{"):
            return None
        low = self._text.digits()
        comma = self._text.take(",")
        high = self._text.digits() if comma else low
        if not self._text.take("}") or not (low or (comma and high and self._dialect == "python")):
            self._text.at = start
            return None
        return int(low or 0), int(high) if high else None

    def _group(self, position: int) -> Syntax:
        self._depth += 1
        if self._depth > MAX_GROUP_DEPTH:
            raise self._text.error(f"groups nested deeper than {MAX_GROUP_DEPTH}", position)
        outer = self._flags
        look: tuple[bool, bool] | None = None
        if self._text.take("?"):
            look = self._group_kind(position)
            if self._text.text[self._text.at - 1] == ")":  # a comment, or flags for the rest
                self._depth -= 1
                return EMPTY
        syntax = self._branches()
        if not self._text.take(")"):
            raise self._text.error("missing ')'", position)
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
            if self._text.take(opening):
                return look
        if self._text.take(":"):
            return None
        if self._text.take("<") or self._text.take("P<"):
            name = self._text.until(">")
            if not name.isidentifier():
                raise self._text.error(f"bad group name {name!r}", position)
            return None
        if self._dialect == "python":
            if self._text.take("#"):
                self._text.until(")")
                return None
            if self._text.peek() and self._text.peek() in "imsxau-":
                self._read_flags(position)
                return None
        raise self._text.unsupported(f"(?{self._text.peek()}", position)

    def _read_flags(self, position: int) -> None:
        """``(?i)`` for the rest of the group, ``(?i-s:`` for a group."""
        flags, value = self._flags, True
        while (letter := self._text.next()) not in (":", ")"):
            if letter == "-":
                value = False
            elif letter not in FLAG_NAMES:
                raise self._text.error(f"unknown flag {letter!r}", position)
            elif (name := FLAG_NAMES[letter]) is not None:
                flags = replace(flags, **{name: value})
        self._flags = flags

    def _characters(self, ranges: Ranges) -> Syntax:
        if self._flags.ignore_case:
            ranges = folded(ranges, self._flags.ascii)
        return Characters(ranges)

    def _escape(self, position: int) -> Syntax:
        letter = self._text.next()
        if letter in "bB":
            return WordBoundary(
                self._characters_of.named_set("w", self._flags.ascii), letter == "B", position
            )
        if self._dialect == "python" and letter in "AZ":
            return Edge("start" if letter == "A" else "end", position)
        if letter in "123456789" or (letter == "k" and self._text.peek() == "<"):
            raise self._text.unsupported("backreferences", position)
        return self._characters(
            self._characters_of.escaped_set(letter, position, self._flags.ascii)
        )

    def _skip_comment(self) -> bool:
        if self._text.peek() == "#":
            line = self._text.text.find("\n", self._text.at)
            self._text.at = len(self._text.text) if line < 0 else line
            return True
        return self._text.take(self._text.peek()) if self._text.peek().isspace() else False
