"""The tokens that a state of the machine in Python allows, by walking the vocabulary's trie.

The walk follows a table of steps and stops where a step is not known yet. Those are asked for, all
at once, and the walk goes on from there. It is compiled by numba where that is installed (extra
``numba``), else it goes through the trie level by level with numpy; both find the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .vocabulary import Vocabulary

IntArray = npt.NDArray[np.int32]

DEAD = 0
UNKNOWN = -1
MAX_ROWS = 8192  # of 1 kB each; one walk may pass it


class Border(NamedTuple):
    """Where a walk begins or has stopped: nodes, and the states before their bytes. Int32 [n]."""

    nodes: IntArray
    states: IntArray


class KnownSteps(NamedTuple):
    """What is known of a machine.

    Args:
        rows: int32 [states], the row of a state in ``table``, or ``UNKNOWN``.
        table: int32 [rows, 256], the state after a byte, ``DEAD`` or ``UNKNOWN``.
    """

    rows: IntArray
    table: IntArray


class TrieArrays(NamedTuple):
    """A vocabulary's trie as the walks read it.

    Args:
        node_bytes, node_skip: see ``Vocabulary``.
        children: the nodes, those of one parent together; first those of the root.
        child_begin: int32 [nodes + 2], where the children of node i begin: ``child_begin[i + 1]``.
        node_of_token: int32 [tokens], where each of ``Vocabulary.order`` ends.
        max_depth: bytes of the longest token.
    """

    node_bytes: npt.NDArray[np.uint8]
    node_skip: IntArray
    children: IntArray
    child_begin: IntArray
    node_of_token: IntArray
    max_depth: int


Walk = Callable[[TrieArrays, KnownSteps, Border, npt.NDArray[np.bool_]], Border]


class TrieWalker:
    """Finds the allowed tokens of one machine's states.

    Args:
        vocabulary: the tokens.
        step: the machine's state after a state and a byte; states are numbered from 0 without gaps.
        walk: one of those below; None takes the fastest there is.
    """

    def __init__(
        self, vocabulary: Vocabulary, step: Callable[[int, int], int], walk: Walk | None = None
    ) -> None:
        self._order = vocabulary.order
        self._trie = _trie_arrays(vocabulary)
        self._step = step
        self._walk = walk or fastest_walk()
        self._forget()

    @property
    def memory_bytes(self) -> int:
        return self._rows.nbytes + self._table.nbytes

    def tokens(self, state: int) -> IntArray:
        """int32 [n]: ids of the tokens whose bytes lead from ``state`` to a living one."""
        if self._num_rows > MAX_ROWS:
            self._forget()
        trie = self._trie
        reached = np.zeros(len(trie.node_bytes), np.bool_)
        roots = trie.children[: trie.child_begin[1]]
        border = Border(roots, np.full(len(roots), state, np.int32))
        while len(border.nodes):
            self._learn(border)
            known = KnownSteps(self._rows, self._table)
            border = self._walk(trie, known, border, reached)
        return self._order[reached[trie.node_of_token]]

    def _forget(self) -> None:
        self._rows = np.full(16, UNKNOWN, np.int32)
        self._table = np.full((16, 256), UNKNOWN, np.int32)
        self._num_rows = 0

    def _learn(self, border: Border) -> None:
        """Ask for the steps that a walk has lacked."""
        keys = np.unique(border.states.astype(np.int64) << 8 | self._trie.node_bytes[border.nodes])
        most = 0
        for key in keys.tolist():
            state, byte = key >> 8, key & 255
            row, following = self._row(state), self._step(state, byte)
            self._table[row, byte] = following
            most = max(most, following)
        self._rows = _with_length(self._rows, most + 1)

    def _row(self, state: int) -> int:
        self._rows = _with_length(self._rows, state + 1)
        row = int(self._rows[state])
        if row == UNKNOWN:
            row = self._rows[state] = self._num_rows
            self._num_rows += 1
            self._table = _with_length(self._table, self._num_rows)
        return row


def numpy_walk(
    trie: TrieArrays, known: KnownSteps, border: Border, reached: npt.NDArray[np.bool_]
) -> Border:
    """Marks what can be reached over known steps, a level of the trie at a time.

    Args:
        reached: bool [nodes], changed in place.

    Returns the nodes that could not be decided.
    """
    nodes, states = border
    undecided: list[Border] = []
    while len(nodes):
        rows = known.rows[states]
        following = known.table[rows, trie.node_bytes[nodes]]
        following[rows == UNKNOWN] = UNKNOWN
        unknown = following == UNKNOWN
        undecided.append(Border(nodes[unknown], states[unknown]))
        alive = following > DEAD
        nodes = nodes[alive]
        reached[nodes] = True
        first, last = trie.child_begin[nodes + 1], trie.child_begin[nodes + 2]
        counts = last - first
        states = np.repeat(following[alive], counts)
        ends = np.cumsum(counts, dtype=np.int32)
        nodes = trie.children[np.repeat(last - ends, counts) + np.arange(len(states))]
    return Border(*map(np.concatenate, zip(*undecided, strict=True)))


def _preorder_walk(
    node_bytes: npt.NDArray[np.uint8],
    node_skip: IntArray,
    known: KnownSteps,
    border: Border,
    max_depth: int,
    reached: npt.NDArray[np.bool_],
) -> tuple[IntArray, IntArray]:
    """The same, node after node in preorder; for numba to compile."""
    rows, table = known.rows, known.table
    undecided = np.empty((2, len(node_bytes)), np.int32)
    count = 0
    ends = np.empty(max_depth + 1, np.int32)  # of the open subtrees
    states = np.empty(max_depth + 1, np.int32)  # at their roots
    for i in range(len(border.nodes)):
        node = border.nodes[i]
        end = node_skip[node]
        depth = 0
        ends[0], states[0] = end, border.states[i]
        while node < end:
            while node >= ends[depth]:
                depth -= 1
            row = rows[states[depth]]
            following = UNKNOWN if row == UNKNOWN else table[row, node_bytes[node]]
            if following > DEAD:
                reached[node] = True
                depth += 1
                ends[depth], states[depth] = node_skip[node], following
                node += 1
                continue
            if following == UNKNOWN:
                undecided[0, count], undecided[1, count] = node, states[depth]
                count += 1
            node = node_skip[node]
    return undecided[0, :count], undecided[1, :count]


class _Preorder(Protocol):
    def __call__(
        self,
        node_bytes: npt.NDArray[np.uint8],
        node_skip: IntArray,
        known: KnownSteps,
        border: Border,
        max_depth: int,
        reached: npt.NDArray[np.bool_],
    ) -> tuple[IntArray, IntArray]: ...


@lru_cache(1)
def numba_walk() -> Walk:
    """``numpy_walk``'s equal, compiled at its first use, or read from numba's cache.

    Raises:
        ImportError: numba is not installed.
    """
    import numba  # only machines without a C++ compiler pay for this import

    compiled: _Preorder = numba.njit(cache=True, nogil=True)(_preorder_walk)

    def walk(
        trie: TrieArrays, known: KnownSteps, border: Border, reached: npt.NDArray[np.bool_]
    ) -> Border:
        found = compiled(trie.node_bytes, trie.node_skip, known, border, trie.max_depth, reached)
        return Border(*found)

    return walk


def fastest_walk() -> Walk:
    """numba's where it is installed."""
    try:
        return numba_walk()
    except ImportError:
        return numpy_walk


@lru_cache(2)
def _trie_arrays(vocabulary: Vocabulary) -> TrieArrays:
    """The trie, with the children of each node; some 0.1 s for 50,000 tokens."""
    skips: list[int] = vocabulary.node_skip.tolist()
    parents = np.empty(len(skips), np.int32)
    path = [-1]
    for node, skip in enumerate(skips):
        while path[-1] >= 0 and node >= skips[path[-1]]:
            path.pop()
        parents[node] = path[-1]
        if skip > node + 1:
            path.append(node)
    counts = np.bincount(parents + 1, minlength=len(skips) + 1)
    tokens_at = np.diff(vocabulary.node_tokens)
    return TrieArrays(
        vocabulary.node_bytes,
        vocabulary.node_skip,
        np.argsort(parents, kind="stable").astype(np.int32),
        np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
        np.repeat(np.arange(len(skips), dtype=np.int32), tokens_at),
        vocabulary.max_token_len,
    )


def _with_length(values: IntArray, length: int) -> IntArray:
    """``values``, longer by ``UNKNOWN`` where it is too short; grows by doubling."""
    if length <= len(values):
        return values
    grown = np.full((max(length, 2 * len(values)), *values.shape[1:]), UNKNOWN, np.int32)
    grown[: len(values)] = values
    return grown
