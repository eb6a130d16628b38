"""Syntax of a regular expression to the language of the texts that match it.

Assertions become boolean operations: ``A(?=X)B`` is ``A (B & X.*)``, ``A(?<=X)B`` is
``(A & .*X) B``, an anchor is the lookaround for nothing at all. That needs the assertion to
stand in a sequence, so alternatives around one are multiplied out, and repeats around one are
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from .errors import UnsupportedGrammarError
from .languages import is_empty
from .regex_characters import Dialect
from .regex_parser import parse_regex
from .regex_syntax import (
    EMPTY,
    Assertion,
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
from .regex_tree import (
    EPSILON,
    NOTHING,
    Node,
    Ranges,
    alternate,
    complement,
    concat,
    intersect,
    repeat,
)
from .unicode_sets import EVERY, inverse, utf8

Alphabet = Callable[[Ranges], Node]
MAX_BRANCHES = 256
MAX_NESTED_COUNT = 10_000


def regex_language(
    pattern: str, dialect: Dialect, *, search: bool = False, alphabet: Alphabet = utf8
) -> Node:
    """The language of a pattern.

    Args:
        pattern: its text.
        dialect: whose syntax and classes.
        search: texts that contain a match, and not only those that match as a whole.
        alphabet: how one character of a set is written.

    Raises:
        GrammarError: a mistake in the pattern, or a construct that is not supported.
    """
    syntax = parse_regex(pattern, dialect)
    _check_counts(syntax, 1)
    return _Compiler(alphabet).language(syntax, search)


def _check_counts(syntax: Syntax, around: int) -> None:
    """Refuses repeats in repeats whose counts, multiplied, are too many to follow one by one."""
    match syntax:
        case Sequence():
            parts: tuple[Syntax, ...] = syntax.parts
        case Branches():
            parts = syntax.options
        case Counted():
            count = syntax.maximum or 1
            varies = syntax.maximum is not None and syntax.minimum != syntax.maximum
            if around > 1 and varies and around * max(count, 2) >= MAX_NESTED_COUNT:
                raise _unsupported(
                    f"a repeat in repeats that multiply to {MAX_NESTED_COUNT} or more",
                    syntax.position,
                )
            around *= count
            parts = (syntax.part,)
        case Look():
            parts = (syntax.part,)
        case _:
            return
    for part in parts:
        _check_counts(part, around)


class _Compiler:
    """Builds languages over one alphabet."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet
        self._any = repeat(alphabet(EVERY), 0, None)
        self._branches = 0

    def language(self, syntax: Syntax, search: bool) -> Node:
        around = self._any if search else EPSILON
        return self._assembled((syntax,), around, around, at_start=True)

    def _assembled(self, parts: tuple[Syntax, ...], left: Node, end: Node, at_start: bool) -> Node:
        """``left parts end``, where assertions see ``left`` as all that stands before them.

        Args:
            at_start: ``left`` begins at the start of the text; otherwise something unknown
                stands before it.
        """
        while parts:
            plain = list(takewhile(lambda part: not _has_assertion(part), parts))
            left = concat(left, *map(self._plain, plain))
            if len(plain) == len(parts):
                break
            part, parts = parts[len(plain)], parts[len(plain) + 1 :]
            match part:
                case Sequence():
                    parts = (*part.parts, *parts)
                case Branches():
                    return self._multiplied(part.options, parts, left, end, at_start)
                case Counted():
                    if part.minimum == 0 and part.maximum == 1:
                        return self._multiplied((part.part, EMPTY), parts, left, end, at_start)
                    raise _unsupported("an assertion in a repeat", part.position)
                case Edge() | Look() | WordBoundary():
                    return self._asserted(part, parts, left, end, at_start)
        return concat(left, end)

    def _multiplied(
        self,
        options: tuple[Syntax, ...],
        parts: tuple[Syntax, ...],
        left: Node,
        end: Node,
        at_start: bool,
    ) -> Node:
        self._branches += len(options)
        if self._branches > MAX_BRANCHES:
            raise UnsupportedGrammarError("regex: too many alternatives around assertions")
        return alternate(
            *(self._assembled((option, *parts), left, end, at_start) for option in options)
        )

    def _asserted(
        self, part: Assertion, parts: tuple[Syntax, ...], left: Node, end: Node, at_start: bool
    ) -> Node:
        """One assertion: each way to satisfy it restricts what precedes and what follows."""
        cases = []
        for before, after in self._cases(part):
            seen = self._preceded(left, before, part, at_start)
            if seen is NOTHING:
                continue
            if after is None:
                cases.append(self._assembled(parts, seen, end, at_start))
            else:
                rest = self._assembled(parts, EPSILON, end, at_start=False)
                cases.append(concat(seen, intersect(rest, after)))
        return alternate(*cases)

    def _preceded(self, left: Node, before: Node | None, part: Assertion, at_start: bool) -> Node:
        """``left`` where the text up to here ends in ``before`` (None: no condition)."""
        if before is None:
            return left
        looks_one_back = not isinstance(part, Look)
        if not at_start and not (looks_one_back and not left.nullable):
            raise _unsupported("an assertion about the text before another one", part.position)
        found = intersect(left, before)
        return NOTHING if is_empty(found) else found

    def _cases(self, part: Assertion) -> list[tuple[Node | None, Node | None]]:
        """Pairs of what must stand before and what must follow; None is no condition."""
        if isinstance(part, Edge):
            return [(EPSILON, None)] if part.kind == "start" else [(None, EPSILON)]
        if isinstance(part, Look):
            if not part.behind:
                language = self._assembled((part.part,), EPSILON, self._any, at_start=False)
            elif _has_assertion(part.part):
                raise _unsupported("an assertion inside a lookbehind", part.position)
            else:
                language = concat(self._any, self._plain(part.part))
            if part.negated:
                language = intersect(self._any, complement(language))
            return [(language, None)] if part.behind else [(None, language)]
        word, other = self._alphabet(part.word), self._alphabet(inverse(part.word))
        ends = {inside: concat(self._any, one) for inside, one in ((True, word), (False, other))}
        starts = {inside: concat(one, self._any) for inside, one in ((True, word), (False, other))}
        ends[False] = alternate(EPSILON, ends[False])
        starts[False] = alternate(EPSILON, starts[False])
        return [
            (ends[before], starts[after])
            for before in (True, False)
            for after in (True, False)
            if (before != after) != part.negated
        ]

    def _plain(self, syntax: Syntax) -> Node:
        """The language of syntax without assertions."""
        match syntax:
            case Characters():
                return self._alphabet(syntax.ranges)
            case Text():
                return concat(*(self._alphabet(((ord(c), ord(c)),)) for c in syntax.text))
            case Sequence():
                return concat(*map(self._plain, syntax.parts))
            case Branches():
                return alternate(*map(self._plain, syntax.options))
            case Counted():
                return repeat(self._plain(syntax.part), syntax.minimum, syntax.maximum)
        raise AssertionError(syntax)


def _has_assertion(syntax: Syntax) -> bool:
    match syntax:
        case Edge() | Look() | WordBoundary():
            return True
        case Sequence():
            return any(map(_has_assertion, syntax.parts))
        case Branches():
            return any(map(_has_assertion, syntax.options))
        case Counted():
            return _has_assertion(syntax.part)
    return False


def _unsupported(construct: str, position: int) -> UnsupportedGrammarError:
    return UnsupportedGrammarError(
        f"regex: {construct} is not supported, at position {position}", position=position
    )
