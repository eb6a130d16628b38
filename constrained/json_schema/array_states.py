"""The states of arrays: positions, counts of ``contains``, distinct items."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from .formula import Formula, all_of, negation
from .shapes import ArrayShape, SomeItems, formula_of_item
from .states import ArrayState


def opening_state(shape: ArrayShape) -> ArrayState:
    """Right after the opening bracket."""
    return ArrayState(shape, 0, (0,) * len(shape.some))


def may_close(state: ArrayState) -> bool:
    """Whether the array may end here."""
    return state.length >= state.shape.min_items and all(
        count >= some.minimum for count, some in zip(state.counts, state.shape.some, strict=True)
    )


def next_items(state: ArrayState) -> Iterator[tuple[Formula, ArrayState]]:
    """Each way to take one more item: what it satisfies, and the state after it.

    Which items count for ``contains`` is guessed. Without an upper bound, guessing too few does
    no harm; with one, an item that is not counted must not satisfy the formula.
    """
    shape = state.shape
    if shape.max_items is not None and state.length >= shape.max_items:
        return
    formula = formula_of_item(shape.groups, state.length)
    index = min(state.length + 1, _horizon(shape))
    options = [
        list(_guesses(some, count, state.length))
        for some, count in zip(shape.some, state.counts, strict=True)
    ]
    for guess in product(*options):
        parts = [part for parts, _ in guess for part in parts]
        counts = tuple(count for _, count in guess)
        yield all_of([formula, *parts]), state._replace(length=index, counts=counts)


def item_formulas(shape: ArrayShape) -> Iterator[Formula]:
    """The formula of every position that differs from the others."""
    longest = max((len(group.prefix) for group in shape.groups), default=0)
    for index in range(longest + 1):
        if shape.max_items is None or index < shape.max_items:
            yield formula_of_item(shape.groups, index)


def needed_formulas(state: ArrayState) -> Iterator[Formula]:
    """The formulas of the items that must still come, each once."""
    longest = max((len(group.prefix) for group in state.shape.groups), default=0)
    for index in range(min(state.length, longest), min(state.shape.min_items, longest + 1)):
        yield formula_of_item(state.shape.groups, index)


def _horizon(shape: ArrayShape) -> int:
    """The index from which on one more item makes no difference."""
    return max(
        shape.min_items,
        shape.max_items or 0,
        *(len(group.prefix) for group in shape.groups),
        *(some.start for some in shape.some),
        0,
    )


def _guesses(some: SomeItems, count: int, index: int) -> Iterator[tuple[tuple[Formula, ...], int]]:
    if index < some.start:
        yield (), count
    elif some.maximum is None:
        if count < some.minimum:
            yield (some.formula,), count + 1
        yield (), count
    else:
        if count < some.maximum:
            yield (some.formula,), count + 1
        yield (negation(some.formula),), count
