"""The masks of a whole batch: one call of the C++ for all matchers that follow it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .matcher import AutomatonMatcher, GrammarMatcher
from .native_library import address_of
from .native_machine import NativeMachine


def fill_batch(matchers: Sequence[GrammarMatcher | None], bitmask: npt.NDArray[np.int32]) -> None:
    """Writes the tokens that each matcher allows next, as ``fill_next_token_bitmask`` does.

    The GIL is free meanwhile, except where a grammar meets a state for the first time.

    Args:
        matchers: one a row; rows of None are left as they are.
        bitmask: int32 ``[rows, ceil(V/32)]``, contiguous.
    """
    batch: list[tuple[int, NativeMachine, int]] = []  # row, machine, state
    for row, matcher in enumerate(matchers):
        machine = matcher.machine if isinstance(matcher, AutomatonMatcher) else None
        if isinstance(machine, NativeMachine):
            assert isinstance(matcher, AutomatonMatcher)
            batch.append((row, machine, matcher.state))
        elif matcher is not None:
            matcher.fill_next_token_bitmask(bitmask, row)
    if batch:
        _fill_native(batch, bitmask)


def _fill_native(
    batch: list[tuple[int, NativeMachine, int]], bitmask: npt.NDArray[np.int32]
) -> None:
    """All machines are of one vocabulary: an engine has one."""
    first, stride = address_of(bitmask), bitmask.strides[0]
    machines = array("q", [machine.handle for _, machine, _ in batch])
    states = array("i", [state for _, _, state in batch])
    rows = array("q", [first + row * stride for row, _, _ in batch])
    machines_at, states_at, rows_at = (part.buffer_info()[0] for part in (machines, states, rows))
    fill = batch[0][1].library.machines_fill
    done = 0
    while True:
        left = len(batch) - done
        done += fill(machines_at + 8 * done, states_at + 4 * done, rows_at + 8 * done, left)
        if done == len(batch):
            return
        batch[done][1].supply_needs()
