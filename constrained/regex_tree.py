"""Regular languages of bytes as trees: hash-consed nodes and the constructors that simplify them.

Equal trees are one object, so nodes are compared by identity and carry their own caches
(derivatives.py). Counted repeats stay counted, and intersection and complement are nodes like the
others.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterable
from typing import Any

ALL_BYTES = (1 << 256) - 1
Ranges = tuple[tuple[int, int], ...]  # of code points, both ends included
Transitions = tuple[tuple[tuple[int, int], ...], ...]  # per state: (byte, next state)


class Node:
    """A language of byte strings; made by the functions below only.

    ``nullable`` tells whether the empty string is in it. The other attributes are caches;
    ``empty`` is None where only a search can tell (derivatives.py).
    """

    __slots__ = ("__weakref__", "classes", "derivatives", "empty", "nullable")

    def __init__(self, nullable: bool, inhabited: bool = False) -> None:
        self.nullable = nullable
        self.derivatives: dict[int, Node] = {}
        self.classes: tuple[int, ...] | None = None
        self.empty: bool | None = False if nullable or inhabited else None


class ByteSet(Node):
    """One byte of a set, given as a bit set of 256."""

    __slots__ = ("bits",)

    def __init__(self, bits: int) -> None:
        super().__init__(nullable=False, inhabited=True)
        self.bits = bits


class Literal(Node):
    """Exactly these bytes."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        super().__init__(nullable=not text, inhabited=True)
        self.text = text


class Words(Node):
    """One of some texts, sorted and at least two."""

    __slots__ = ("texts",)

    def __init__(self, texts: tuple[bytes, ...]) -> None:
        super().__init__(nullable=not texts[0], inhabited=True)
        self.texts = texts


class Concat(Node):
    __slots__ = ("first", "rest")

    def __init__(self, first: Node, rest: Node) -> None:
        inhabited = first.empty is False and rest.empty is False
        super().__init__(first.nullable and rest.nullable, inhabited)
        self.first = first
        self.rest = rest


class Alternation(Node):
    __slots__ = ("parts",)

    def __init__(self, parts: frozenset[Node]) -> None:
        inhabited = any(part.empty is False for part in parts)
        super().__init__(any(part.nullable for part in parts), inhabited)
        self.parts = parts


class Intersection(Node):
    __slots__ = ("parts",)

    def __init__(self, parts: frozenset[Node]) -> None:
        super().__init__(all(part.nullable for part in parts))
        self.parts = parts


class Complement(Node):
    __slots__ = ("part",)

    def __init__(self, part: Node) -> None:
        super().__init__(not part.nullable)
        self.part = part


class Repeat(Node):
    """``part`` from ``minimum`` to ``maximum`` times; None means without end."""

    __slots__ = ("maximum", "minimum", "part")

    def __init__(self, part: Node, minimum: int, maximum: int | None) -> None:
        super().__init__(minimum == 0 or part.nullable, part.empty is False)
        self.part = part
        self.minimum = minimum
        self.maximum = maximum


class Table(Node):
    """An explicit automaton, at one of its states."""

    __slots__ = ("accepting", "state", "transitions")

    def __init__(self, transitions: Transitions, accepting: frozenset[int], state: int) -> None:
        super().__init__(state in accepting)
        self.transitions = transitions
        self.accepting = accepting
        self.state = state


class _NodeTable:
    """The nodes in use, by kind and parts.

    Without a lock: two threads that make one node at once may get two, which costs no more than
    the time to treat them apart.
    """

    def __init__(self) -> None:
        self._nodes: dict[Hashable, weakref.ref[Node]] = {}
        self._sweep_at = 50_000

    def unique(self, key: tuple[Any, ...]) -> Node:
        """The node of ``(kind, *arguments)``."""
        reference = self._nodes.get(key)
        node = None if reference is None else reference()
        if node is None:
            made: Node = key[0](*key[1:])
            self._nodes[key] = weakref.ref(made)
            if len(self._nodes) > self._sweep_at:
                self._sweep()
            return made
        return node

    def _sweep(self) -> None:
        """Forgets the nodes that nobody uses."""
        for key, reference in list(self._nodes.items()):
            if reference() is None:
                self._nodes.pop(key, None)
        self._sweep_at = max(50_000, 2 * len(self._nodes))


_table = _NodeTable()


def _unique(*key: object) -> Node:
    """The one node of a kind and its parts."""
    return _table.unique(key)


EPSILON = _unique(Literal, b"")
NOTHING = _unique(Alternation, frozenset())
NOTHING.empty = True
ANYTHING = _unique(Complement, NOTHING)


def byte_set(bits: int) -> Node:
    """One byte out of a bit set of 256."""
    return _unique(ByteSet, bits) if bits else NOTHING


def byte_range(low: int, high: int) -> Node:
    return byte_set((1 << high + 1) - (1 << low))


def literal(text: str | bytes) -> Node:
    """Exactly this text, in UTF-8."""
    return _unique(Literal, text.encode() if isinstance(text, str) else text)


def concat(*nodes: Node) -> Node:
    result = EPSILON
    texts: list[bytes] = []  # of the literals before `result`, the last one first
    for node in reversed(nodes):
        if isinstance(node, Literal):
            texts.append(node.text)
            continue
        if texts:
            result = _concat(_joined(texts), result)
            texts = []
        result = _concat(node, result)
    return _concat(_joined(texts), result) if texts else result


def _joined(texts: list[bytes]) -> Node:
    return literal(b"".join(reversed(texts)))


def _concat(first: Node, rest: Node) -> Node:
    if first is NOTHING or rest is NOTHING:
        return NOTHING
    if first is EPSILON:
        return rest
    if rest is EPSILON:
        return first
    if isinstance(first, Concat):
        return _concat(first.first, _concat(first.rest, rest))
    if isinstance(first, Literal):
        if isinstance(rest, Literal):
            return literal(first.text + rest.text)
        if isinstance(rest, Concat) and isinstance(rest.first, Literal):
            return _unique(Concat, literal(first.text + rest.first.text), rest.rest)
    return _unique(Concat, first, rest)


def alternate(*nodes: Node) -> Node:
    """The union; no node at all is the empty language."""
    parts: set[Node] = set()
    words: set[bytes] = set()
    bits = 0
    for node in nodes:
        if node is ANYTHING:
            return ANYTHING
        for part in node.parts if isinstance(node, Alternation) else (node,):
            if isinstance(part, ByteSet):
                bits |= part.bits
            elif isinstance(part, Literal):
                words.add(part.text)
            elif isinstance(part, Words):
                words.update(part.texts)
            else:
                parts.add(part)
    if words:
        parts.add(one_of(words))
    if bits:
        parts.add(byte_set(bits))
    return parts.pop() if len(parts) == 1 else _unique(Alternation, frozenset(parts))


def intersect(*nodes: Node) -> Node:
    """The intersection; no node at all is every byte string."""
    parts: set[Node] = set()
    for node in nodes:
        if node is NOTHING:
            return NOTHING
        if node is not ANYTHING:
            parts.update(node.parts if isinstance(node, Intersection) else (node,))
    if len(parts) == 1:
        return parts.pop()
    if EPSILON in parts:
        return EPSILON if all(part.nullable for part in parts) else NOTHING
    if any(isinstance(part, Complement) and part.part in parts for part in parts):
        return NOTHING
    if any(isinstance(part, Literal | Words) for part in parts):
        parts = _with_fewest_words(parts)
        if len(parts) == 1:
            return parts.pop()
    return _unique(Intersection, frozenset(parts)) if parts else ANYTHING


def _with_fewest_words(parts: set[Node]) -> set[Node]:
    """The same intersection with one finite language: the words that all of them have."""
    finite = [set(_words(part)) for part in parts if isinstance(part, Literal | Words)]
    without = [part for part in parts if isinstance(part, Complement) and _words(part.part)]
    words = set.intersection(*finite).difference(*(_words(part.part) for part in without))
    if not words:
        return {NOTHING}
    others = {part for part in parts if not isinstance(part, Literal | Words)}
    return others.difference(without) | {one_of(words)}


def _words(node: Node) -> tuple[bytes, ...]:
    """The words of a finite language that is given as such; none of others."""
    if isinstance(node, Words):
        return node.texts
    return (node.text,) if isinstance(node, Literal) else ()


def complement(node: Node) -> Node:
    """Every byte string that is not in the language."""
    return node.part if isinstance(node, Complement) else _unique(Complement, node)


def repeat(node: Node, minimum: int, maximum: int | None) -> Node:
    if maximum == 0 or node is EPSILON:
        return EPSILON
    if node is NOTHING:
        return EPSILON if minimum == 0 else NOTHING
    if minimum == 1 and maximum == 1:
        return node
    return _unique(Repeat, node, minimum, maximum)


def optional(node: Node) -> Node:
    return repeat(node, 0, 1)


def table(transitions: Transitions, accepting: frozenset[int], state: int = 0) -> Node:
    """The language of an explicit deterministic automaton; missing transitions refuse."""
    return _unique(Table, transitions, accepting, state)


def one_of(texts: Iterable[bytes]) -> Node:
    """The finite language of these texts."""
    words = tuple(sorted(set(texts)))
    if not words:
        return NOTHING
    return literal(words[0]) if len(words) == 1 else _unique(Words, words)
