"""The mask rows of an automaton's states, kept within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .vocabulary import Row, Vocabulary


class MaskTable:
    """The rows of one automaton, computed once each and kept within a number of bytes.

    Args:
        mask: computes the row of a state.
        vocabulary: the tokens.
        max_bytes: rows are dropped, least recently used first, beyond this.
    """

    def __init__(
        self, mask: Callable[[int], Row], vocabulary: Vocabulary, max_bytes: int = 64 << 20
    ) -> None:
        self._mask = mask
        self._row_bytes = 4 * max(vocabulary.row_len, 1)
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._max_rows = max(1, max_bytes // self._row_bytes)

    @property
    def memory_bytes(self) -> int:
        return len(self._rows) * self._row_bytes

    def row(self, state: int) -> Row:
        """int32 ``[ceil(V/32)]``: the tokens that may come next. Not a copy."""
        row = self._rows.get(state)
        if row is None:
            row = self._rows[state] = self._mask(state)
            if len(self._rows) > self._max_rows:
                self._rows.popitem(last=False)
        else:
            self._rows.move_to_end(state)
        return row
