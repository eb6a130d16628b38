"""Schemas less what cannot be enforced, for requests that prefer a weaker constraint to none.

A keyword is left out only where that allows more. Below ``not``, ``if``, ``oneOf`` or ``contains``
it might allow less, so the outermost of these is left out instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

from .backend import CompiledGrammar
from .errors import UnsupportedGrammarError
from .json_schema.keyword_sets import SCHEMA_LIST_KEYWORDS, SCHEMA_MAP_KEYWORDS
from .matcher import GrammarMatcher

T = TypeVar("T")
Schema = dict[str, Any] | bool
Path = tuple[str, ...]

MAX_OMISSIONS = 64
RELAX_SECONDS = 2.0  # of this thread's CPU time
NOT_MONOTONE = frozenset(("not", "if", "oneOf", "contains"))
# What means something else without the keyword, and goes with it.
COMPANIONS = {
    "if": ("then", "else"),
    "contains": ("minContains", "maxContains"),
    "properties": ("additionalProperties",),
    "patternProperties": ("additionalProperties",),
    "prefixItems": ("items",),
    "items": ("additionalItems",),
}
# They count what the other keywords have looked at, so they hold only beside all of these.
COUNTING = ("unevaluatedProperties", "unevaluatedItems")
ASSERTIONS = frozenset(
    "type enum const pattern format minLength maxLength minimum maximum exclusiveMinimum "
    "exclusiveMaximum multipleOf uniqueItems minItems maxItems required minProperties "
    "maxProperties dependentRequired propertyNames".split()
)


class RelaxedGrammar:
    """A grammar of a schema of which something was left out."""

    def __init__(self, grammar: CompiledGrammar, warnings: Sequence[str]) -> None:
        self._grammar = grammar
        self.warnings = tuple(warnings)

    @property
    def memory_bytes(self) -> int:
        return self._grammar.memory_bytes

    def matcher(self) -> GrammarMatcher:
        return self._grammar.matcher()


def with_warnings(grammar: CompiledGrammar, warnings: Sequence[str]) -> CompiledGrammar:
    """The grammar, and what it does not enforce."""
    return RelaxedGrammar(grammar, warnings) if warnings else grammar


def relax(schema: Schema, compile_schema: Callable[[Schema], T]) -> tuple[T, list[str]]:
    """Compiles a schema, leaving out one keyword after another until nothing is refused.

    Returns:
        what ``compile_schema`` returned in the end, and a warning for each omission.

    Raises:
        GrammarError: the schema is wrong.
        UnsupportedGrammarError: too much would have to be left out, or no one keyword is to blame.
    """
    warnings: list[str] = []
    deadline = time.thread_time() + RELAX_SECONDS
    while True:
        try:
            return compile_schema(schema), warnings
        except UnsupportedGrammarError as refusal:
            exhausted = len(warnings) == MAX_OMISSIONS or time.thread_time() > deadline
            if exhausted or refusal.pointer is None:
                raise
            path = omitted(schema, refusal)
            schema = without(schema, path)
            place = "/".join(("", *path[:-1]))
            left_out = f"{path[-1]} at {place or 'the root'}" if path else "the whole schema"
            warnings.append(f"{refusal}: {left_out} is not enforced")


def omitted(schema: Schema, refusal: UnsupportedGrammarError) -> Path:
    """The path of the keyword to leave out; of a whole schema where no keyword is to blame."""
    assert refusal.pointer is not None
    place = _steps(refusal.pointer)
    holder = _at(schema, place)
    if refusal.keyword is not None and isinstance(holder, dict) and refusal.keyword in holder:
        place = (*place, refusal.keyword)
    for length, keyword in _keywords(place):
        if keyword in NOT_MONOTONE:
            return place[:length]
    for path, value in _not_monotone(schema, ()):
        if any(place[: len(target)] == target for target in _referenced(value, schema, set())):
            return path
    return place


def without(schema: Schema, path: Path) -> Any:
    """A copy without what is at the path, and without what would mean something else then."""
    if not path:
        return True
    known = [keyword for length, keyword in _keywords(path) if length == len(path)]
    if not known:  # a schema in a list or a map
        edited = _edited(schema, path, lambda _: True)
    else:
        gone = (known[0], *COMPANIONS.get(known[0], ()))
        edited = _edited(schema, path[:-1], lambda holder: _less(holder, gone))
    return edited if known and known[0] in ASSERTIONS else _without_counting(edited)


def _steps(pointer: str) -> Path:
    return tuple(s.replace("~1", "/").replace("~0", "~") for s in pointer.split("/")[1:])


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _keywords(path: Path) -> Iterator[tuple[int, str]]:
    """The keywords along a path, each with the length of the path up to it."""
    at = 0
    while at < len(path):
        keyword = path[at]
        yield at + 1, keyword
        at += 1
        in_list = keyword in SCHEMA_LIST_KEYWORDS and at < len(path) and path[at].isdecimal()
        at += in_list or keyword in SCHEMA_MAP_KEYWORDS


def _not_monotone(schema: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """The outermost keywords below which less could mean more, with their values."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _not_monotone(item, (*path, str(index)))
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            place = (*path, keyword)
            if keyword in SCHEMA_MAP_KEYWORDS and isinstance(value, dict):
                for name, item in value.items():
                    yield from _not_monotone(item, (*place, name))
            elif keyword in NOT_MONOTONE:
                yield place, value
            elif keyword not in ("enum", "const", "default", "examples"):
                yield from _not_monotone(value, place)


def _referenced(value: Any, root: Schema, seen: set[Path]) -> set[Path]:
    """What the references in a value lead to, directly or not; the root where that is not clear."""
    if isinstance(value, list):
        for item in value:
            _referenced(item, root, seen)
    elif isinstance(value, dict):
        for keyword, item in value.items():
            if keyword not in ("$ref", "$dynamicRef") or not isinstance(item, str):
                _referenced(item, root, seen)
                continue
            target = _steps(unquote(item)) if item.startswith("#/") else ()
            if target not in seen:
                seen.add(target)
                _referenced(_at(root, target), root, seen)
    return seen


def _edited(value: Any, path: Path, edit: Callable[[Any], Any]) -> Any:
    """A copy of the value in which ``edit`` was applied at the path."""
    if not path:
        return edit(value)
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        copy = list(value)
        copy[int(step)] = _edited(value[int(step)], rest, edit)
        return copy
    return {**value, step: _edited(value[step], rest, edit)}


def _less(holder: dict[str, Any], gone: Sequence[str]) -> dict[str, Any]:
    return {keyword: value for keyword, value in holder.items() if keyword not in gone}


def _without_counting(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_counting(item) for item in value]
    if isinstance(value, dict):
        return {k: _without_counting(v) for k, v in value.items() if k not in COUNTING}
    return value
