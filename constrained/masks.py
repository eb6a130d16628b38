"""Mask rows of the states of an automaton, computed by a walk of the vocabulary's trie."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from .vocabulary import Row, Vocabulary

if TYPE_CHECKING:
    from .matcher import ByteAutomaton


class MaskTable:
    """The rows of one automaton, computed once each and kept within a number of bytes.

    Args:
        automaton: whose states the rows belong to.
        vocabulary: the tokens.
        max_bytes: rows are dropped, least recently used first, beyond this.
    """

    def __init__(
        self, automaton: ByteAutomaton, vocabulary: Vocabulary, max_bytes: int = 64 << 20
    ) -> None:
        self._automaton = automaton
        self._vocabulary = vocabulary
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._max_rows = max(1, max_bytes // (4 * max(vocabulary.row_len, 1)))

    @property
    def memory_bytes(self) -> int:
        return len(self._rows) * 4 * self._vocabulary.row_len

    def row(self, state: int) -> Row:
        """int32 ``[ceil(V/32)]``: the tokens whose bytes lead to a living state. Not a copy."""
        row = self._rows.get(state)
        if row is None:
            row = self._rows[state] = self._walk(state)
            if len(self._rows) > self._max_rows:
                self._rows.popitem(last=False)
        else:
            self._rows.move_to_end(state)
        return row

    def _walk(self, start: int) -> Row:
        vocabulary, step = self._vocabulary, self._automaton.step
        node_bytes = vocabulary.node_bytes.tobytes()
        node_skip, node_tokens = vocabulary.node_skip, vocabulary.node_tokens
        allowed: list[int] = []
        ends, states = [len(node_bytes)], [start]  # open subtrees and the states at their roots
        node = 0
        while node < len(node_bytes):
            while node >= ends[-1]:
                ends.pop()
                states.pop()
            state = step(states[-1], node_bytes[node])
            if not state:
                node = int(node_skip[node])
                continue
            first, last = node_tokens[node], node_tokens[node + 1]
            allowed.extend(range(first, last))
            ends.append(int(node_skip[node]))
            states.append(state)
            node += 1
        return vocabulary.row_of(vocabulary.order[np.array(allowed, np.int64)])
