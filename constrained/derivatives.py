"""Brzozowski derivatives of regular languages over bytes, and what they decide.

The derivative of a language by a byte is what may follow that byte. Source: Brzozowski,
"Derivatives of Regular Expressions" (1964), section 3; byte classes as in Owens, Reppy and Turon,
"Regular-expression derivatives re-examined" (2009), section 4.
"""

from __future__ import annotations

from collections.abc import Iterable

from .errors import UnsupportedGrammarError
from .regex_tree import (
    ALL_BYTES,
    EPSILON,
    NOTHING,
    Alternation,
    ByteSet,
    Complement,
    Concat,
    Intersection,
    Literal,
    Node,
    Repeat,
    Table,
    Words,
    alternate,
    complement,
    concat,
    intersect,
    literal,
    one_of,
    repeat,
    table,
)

MAX_SEARCHED_NODES = 20_000


def derivative(node: Node, byte: int) -> Node:
    """What may follow ``byte``."""
    found = node.derivatives.get(byte)
    if found is None:
        found = node.derivatives[byte] = _derivative(node, byte)
    return found


def _derivative(node: Node, byte: int) -> Node:
    result = NOTHING
    match node:
        case Literal():
            result = literal(node.text[1:]) if node.text[:1] == bytes((byte,)) else NOTHING
        case Words():
            first = bytes((byte,))
            result = one_of(text[1:] for text in node.texts if text[:1] == first)
        case ByteSet():
            result = EPSILON if node.bits >> byte & 1 else NOTHING
        case Concat():
            result = concat(derivative(node.first, byte), node.rest)
            if node.first.nullable:
                result = alternate(result, derivative(node.rest, byte))
        case Alternation():
            result = alternate(*(derivative(part, byte) for part in node.parts))
        case Intersection():
            result = intersect(*(derivative(part, byte) for part in node.parts))
        case Complement():
            result = complement(derivative(node.part, byte))
        case Repeat():
            maximum = None if node.maximum is None else node.maximum - 1
            rest = repeat(node.part, max(node.minimum - 1, 0), maximum)
            result = concat(derivative(node.part, byte), rest)
        case Table():
            following = dict(node.transitions[node.state]).get(byte)
            if following is not None:
                result = table(node.transitions, node.accepting, following)
    return result


def byte_classes(node: Node) -> tuple[int, ...]:
    """A partition of the bytes (as bit sets); bytes of one class have the same derivative."""
    if node.classes is None:
        node.classes = _byte_classes(node)
    return node.classes


def _byte_classes(node: Node) -> tuple[int, ...]:
    match node:
        case Literal():
            return _split(1 << node.text[0]) if node.text else (ALL_BYTES,)
        case Words():
            firsts = {text[0] for text in node.texts if text}
            rest = ALL_BYTES & ~sum(1 << byte for byte in firsts)
            return (*(1 << byte for byte in firsts), *((rest,) if rest else ()))
        case ByteSet():
            return _split(node.bits)
        case Concat():
            if node.first.nullable:
                return joint_classes((node.first, node.rest))
            return byte_classes(node.first)
        case Alternation() | Intersection():
            return joint_classes(node.parts)
        case Complement() | Repeat():
            return byte_classes(node.part)
        case Table():
            by_target: dict[int, int] = {}
            for byte, target in node.transitions[node.state]:
                by_target[target] = by_target.get(target, 0) | 1 << byte
            rest = ALL_BYTES & ~sum(by_target.values())
            return (*by_target.values(), rest) if rest else tuple(by_target.values())
    raise AssertionError(node)


def _split(bits: int) -> tuple[int, ...]:
    return (bits,) if bits == ALL_BYTES else (bits, ALL_BYTES & ~bits)


def joint_classes(nodes: Iterable[Node]) -> tuple[int, ...]:
    """The coarsest partition that refines those of all nodes."""
    classes = {ALL_BYTES}
    for partition in {byte_classes(node) for node in nodes}:
        classes = {mine & other for mine in classes for other in partition if mine & other}
    return tuple(classes)


def first_byte(byte_class: int) -> int:
    """The least byte of a bit set."""
    return (byte_class & -byte_class).bit_length() - 1


def is_empty(node: Node) -> bool:
    """Whether no byte string is in the language.

    Raises:
        UnsupportedGrammarError: the question would take too long.
    """
    if node.nullable:
        return False
    if node.empty is None:
        _search(node)
    assert node.empty is not None
    return node.empty


def _search(node: Node) -> None:
    """Looks, breadth first, for a way to a text, and notes what it finds out on the way."""
    reached_from: dict[Node, Node | None] = {node: None}
    queue = [node]
    for current in queue:
        for byte_class in byte_classes(current):
            following = derivative(current, first_byte(byte_class))
            if following.empty is False:
                step: Node | None = current
                while step is not None:
                    step.empty = False
                    step = reached_from[step]
                return
            if following.empty is None and following not in reached_from:
                reached_from[following] = current
                queue.append(following)
        if len(queue) > MAX_SEARCHED_NODES:
            raise too_large()
    for current in queue:
        current.empty = True


def too_large() -> UnsupportedGrammarError:
    """What is raised where a question would take too long."""
    return UnsupportedGrammarError("the patterns combine to too large an automaton")


def count_words(node: Node, limit: int) -> int:
    """How many byte strings are in the language, counted up to ``limit``."""
    counted: dict[Node, int] = {}
    path: set[Node] = set()

    def count(current: Node) -> int:
        if is_empty(current):
            return 0
        if current in path:  # a cycle on a way to an end: words without number
            return limit
        if current not in counted:
            path.add(current)
            total = int(current.nullable)
            for byte_class in byte_classes(current):
                if total < limit:
                    following = derivative(current, first_byte(byte_class))
                    total += byte_class.bit_count() * count(following)
            path.discard(current)
            counted[current] = min(total, limit)
        return counted[current]

    return count(node)


def matches(node: Node, text: bytes) -> bool:
    """Whether the text is in the language."""
    for byte in text:
        node = derivative(node, byte)
    return node.nullable
