"""The states of objects: which keys may come next, and what their values must satisfy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain, combinations
from typing import NamedTuple

from ..errors import UnsupportedGrammarError
from ..languages import count_words, is_empty, matches
from ..regex_tree import Node, complement, intersect, literal, one_of
from .formula import FALSE, Formula, all_of
from .shapes import ObjectShape, PropertyRules
from .states import ObjectState
from .string_language import STRING, exactly, quoted_text

MAX_PATTERNS = 8
NO_PATTERNS: frozenset[Node] = frozenset()


class KeyChoice(NamedTuple):
    """Keys that are treated alike.

    Args:
        name: the declared name, or None for a class of undeclared keys.
        keys: their quoted language.
        formula: what the value must satisfy.
        some: the indices of ``shape.some`` whose language the keys are in.
    """

    name: str | None
    keys: Node
    formula: Formula
    some: frozenset[int]


class ObjectPlan:
    """The keys of one object shape, in the order in which they are written.

    Args:
        shape: the constraints.
        any_order: declared properties in any order, mixed with others.
    """

    def __init__(self, shape: ObjectShape, any_order: bool) -> None:
        self.shape = shape
        self._any_order = any_order
        self._dependent = _closure(shape.dependent)
        self._watched = frozenset(chain(self._dependent, *self._dependent.values()))
        self._rules = PropertyRules(shape.groups)
        self._patterns = (*self._rules.patterns, *(some.keys for some in shape.some))
        names = _declared_names(shape)
        self.declared = tuple(choice for name in names for choice in self._named(name))
        self.position = {
            choice.name: index
            for index, choice in enumerate(self.declared)
            if choice.name is not None
        }
        self._required_at = sorted(
            {self.position[name] for name in shape.required if name in self.position}
        )
        self._needed_from: dict[int, frozenset[str]] = {}  # by index into these
        self.declared_keys = frozenset(choice.keys for choice in self.declared)
        self.others = tuple(self._undeclared(names))
        # Repeated keys would spoil counts and existence: the last one wins in every JSON reader.
        self.tracks_keys = bool(shape.some) or shape.min_properties > 0
        self._count_limit = max(1, shape.min_properties, shape.max_properties or 0)
        # Then which property comes next says all about what may follow it.
        self.in_sequence = not (
            any_order or shape.some or shape.dependent or shape.min_properties
        ) and (shape.max_properties is None)

    def opening_state(self) -> ObjectState | None:
        """Right after the opening brace; None where a required name can never occur."""
        needed = frozenset(self.shape.required)
        needed |= frozenset().union(*(self._dependent.get(name, ()) for name in needed))
        if not needed <= self.position.keys():
            return None
        some = frozenset(range(len(self.shape.some)))
        return ObjectState(self, 0, frozenset(), needed, 0, some)

    def may_close(self, state: ObjectState) -> bool:
        """Whether the object may end here."""
        return not state.needed and not state.some and state.size >= self.shape.min_properties

    def needed_from(self, cursor: int) -> frozenset[str]:
        """The required names from a declared property on, in fixed order."""
        first = bisect_left(self._required_at, cursor)
        found = self._needed_from.get(first)
        if found is None:
            names = (self.declared[index].name or "" for index in self._required_at[first:])
            found = self._needed_from[first] = frozenset(names)
        return found

    def needed_suffice(self, state: ObjectState) -> bool:
        """Whether the object may end once the needed names have come."""
        total = state.size + len(state.needed)
        limit = self.shape.max_properties
        return (
            not state.some
            and total >= self.shape.min_properties
            and (limit is None or total <= limit)
        )

    def choice(self, name: str) -> KeyChoice:
        return self.declared[self.position[name]]

    def next_keys(self, state: ObjectState) -> Iterator[tuple[KeyChoice, Formula, ObjectState]]:
        """Each way to take one more property: its keys, its value, the state after it."""
        for choice in self._available(state):
            after = self._after(state, choice)
            if after is None:
                continue
            satisfiable_some = sorted(state.some & choice.some)
            for size in range(len(satisfiable_some) + 1):
                for taken in combinations(satisfiable_some, size):
                    parts = [choice.formula, *(self.shape.some[index].formula for index in taken)]
                    yield choice, all_of(parts), after._replace(some=after.some - set(taken))

    def _available(self, state: ObjectState) -> Iterator[KeyChoice]:
        if self._any_order:
            yield from (choice for choice in self.declared if choice.name not in state.used)
            yield from self.others
            return
        for choice in self.declared[state.cursor :]:
            yield choice
            if choice.name in state.needed:
                return
        yield from self.others

    def _after(self, state: ObjectState, choice: KeyChoice) -> ObjectState | None:
        """The state after a property, or None where the rest can no longer fit."""
        name, shape = choice.name, self.shape
        used, needed, cursor, others = state.used, state.needed, state.cursor, state.others
        if name is None:
            if self.tracks_keys and self._words(choice.keys) <= state.others:
                return None
            cursor = 0 if self._any_order else len(self.declared)
            others = min(others + 1, self._count_limit) if self.tracks_keys else 0
        else:
            if self._any_order or name in self._watched:
                used |= {name}
            needed = (needed | self._dependent.get(name, frozenset())) - used - {name}
            cursor = 0 if self._any_order else self.position[name] + 1
            if any(self.position.get(other, -1) < cursor for other in needed):
                return None
        count = min(state.size + 1, self._count_limit)
        limit = shape.max_properties
        if limit is not None and (state.size >= limit or count + len(needed) > limit):
            return None
        return ObjectState(self, cursor, used, needed, count, state.some, others, state.seen)

    def _words(self, keys: Node) -> int:
        """How many keys there are, up to the number that can matter."""
        return count_words(keys, self._count_limit + len(self.shape.some) + 1)

    def _named(self, name: str) -> Iterator[KeyChoice]:
        if not self._patterns and self.shape.keys is STRING:  # the usual case
            formula = self._rules.formula(name, NO_PATTERNS)
            if formula is not FALSE:
                yield KeyChoice(name, exactly(name), formula, frozenset())
            return
        key = quoted_text(name)
        if self.shape.keys is not STRING and not matches(self.shape.keys, key):
            return
        matched = frozenset(pattern for pattern in self._patterns if matches(pattern, key))
        formula = self._rules.formula(name, matched)
        if formula is not FALSE:
            yield KeyChoice(name, literal(key), formula, self._some(matched))

    def _undeclared(self, names: list[str]) -> Iterator[KeyChoice]:
        """One class of keys for each set of patterns that they match together."""
        if len(self._patterns) > MAX_PATTERNS:
            raise UnsupportedGrammarError(
                f"more than {MAX_PATTERNS} patterns for the keys of one object",
                keyword="patternProperties",
            )
        patterns = tuple(dict.fromkeys(self._patterns))
        if not patterns and self._rules.formula(None, NO_PATTERNS) is FALSE:
            return
        free = complement(one_of(map(quoted_text, names)))
        if not patterns and self.shape.keys is STRING:  # the usual case, and never empty
            keys = intersect(STRING, free) if names else STRING
            yield KeyChoice(None, keys, self._rules.formula(None, NO_PATTERNS), frozenset())
            return
        for size in range(len(patterns) + 1):
            for together in combinations(patterns, size):
                matched = frozenset(together)
                formula = self._rules.formula(None, matched)
                if formula is FALSE:
                    continue
                apart = [complement(p) for p in patterns if p not in matched]
                keys = intersect(self.shape.keys, free, *together, *apart)
                if not is_empty(keys):
                    yield KeyChoice(None, keys, formula, self._some(matched))

    def _some(self, matched: frozenset[Node]) -> frozenset[int]:
        return frozenset(
            index for index, some in enumerate(self.shape.some) if some.keys in matched
        )


def formulas_without_patterns(shape: ObjectShape) -> list[Formula] | None:
    """The formulas of the values of all keys; None where patterns tell keys apart."""
    groups = shape.groups
    if shape.some or shape.keys is not STRING or any(group.patterns for group in groups):
        return None
    if len(groups) == 1:
        return [*(formula for _, formula in groups[0].named), groups[0].additional]
    rules = PropertyRules(groups)
    return [rules.formula(name, NO_PATTERNS) for name in (*_declared_names(shape), None)]


def required_formulas(shape: ObjectShape) -> list[Formula] | None:
    """What must be satisfiable for an object of the shape to exist; None where more matters."""
    most = shape.max_properties
    if shape.some or shape.dependent or shape.min_properties > 0:
        return None
    if not shape.required:
        return []
    if most is not None and len(shape.required) > most:
        return [FALSE]
    if shape.keys is not STRING or any(group.patterns for group in shape.groups):
        return None
    rules = PropertyRules(shape.groups)
    return [rules.formula(name, NO_PATTERNS) for name in shape.required]


def _declared_names(shape: ObjectShape) -> list[str]:
    named = (name for group in shape.groups for name, _ in group.named)
    dependent = (name for trigger, needed in shape.dependent for name in (trigger, *needed))
    return list(dict.fromkeys(chain(named, shape.required, dependent)))


def _closure(rules: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, frozenset[str]]:
    """For each name all names that must occur with it, directly or through others."""
    direct: dict[str, set[str]] = {}
    for name, needed in rules:
        direct.setdefault(name, set()).update(needed)
    closed: dict[str, frozenset[str]] = {}
    for name in direct:
        reached: set[str] = set()
        pending = [name]
        while pending:
            for other in direct.get(pending.pop(), ()):
                if other not in reached:
                    reached.add(other)
                    pending.append(other)
        closed[name] = frozenset(reached)
    return closed
