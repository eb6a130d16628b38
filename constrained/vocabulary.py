"""The tokens of a model as bytes, and a trie over them that every grammar shares.

Knows nothing of grammars. Special tokens have no bytes and are in no mask.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.int32]
Bitmask = npt.NDArray[np.int32]  # a row for each place of a batch


class Trie(NamedTuple):
    """The arrays of the same names in ``Vocabulary``."""

    order: npt.NDArray[np.int32]
    node_bytes: npt.NDArray[np.uint8]
    node_skip: npt.NDArray[np.int32]
    node_tokens: npt.NDArray[np.int32]


class Vocabulary:
    """Tokens, sorted by their bytes, and their trie in preorder.

    Attributes:
        max_token_len: bytes of the longest token.
        size: number of token ids, special ones included.
        token_bytes: the bytes of each token, None for special tokens.
        eos_token_ids: tokens that end the output.
        order: int32 [n], the ids of tokens that have bytes, sorted by them.
        node_bytes: uint8 [nodes], the byte that leads into each trie node; the root is left out.
        node_skip: int32 [nodes], the first node after the subtree of each node.
        node_tokens: int32 [nodes + 1]; the tokens that end at node i are
            ``order[node_tokens[i]:node_tokens[i + 1]]``.
    """

    def __init__(
        self, token_bytes: Sequence[bytes | None], eos_token_ids: Iterable[int], trie: Trie
    ) -> None:
        self.token_bytes = tuple(token_bytes)
        self.eos_token_ids = tuple(sorted(set(eos_token_ids)))
        self.size = len(self.token_bytes)
        self.order, self.node_bytes, self.node_skip, self.node_tokens = trie
        self._sorted = [self.token_bytes[token_id] or b"" for token_id in self.order.tolist()]
        self.max_token_len = max(map(len, self._sorted), default=0)

    @classmethod
    def from_token_bytes(
        cls, token_bytes: Sequence[bytes | None], eos_token_ids: Iterable[int]
    ) -> Vocabulary:
        """Builds the trie, some 0.1 s for 50,000 tokens; ``load_vocabulary`` does so only once."""
        return cls(token_bytes, eos_token_ids, build_trie(token_bytes, set(eos_token_ids)))

    @cached_property
    def digest(self) -> str:
        """A hash of the tokens."""
        return digest_of(self.token_bytes, self.eos_token_ids)

    @property
    def row_len(self) -> int:
        """Words of one mask row: ``ceil(size / 32)``."""
        return (self.size + 31) // 32

    def row_of(self, token_ids: npt.NDArray[np.int32]) -> Row:
        """The mask row, int32 ``[row_len]``, with the bits of the given tokens set."""
        bits = np.zeros(self.row_len * 32, np.uint8)
        bits[token_ids] = 1
        return np.packbits(bits, bitorder="little").view(np.int32)

    def prefix_row(self, withheld: bytes) -> Row:
        """The tokens that begin with ``withheld``, and those that are a beginning of it."""
        shorter = [
            self.order[at]
            for length in range(1, len(withheld) + 1)
            for at in self._equal_to(withheld[:length])
        ]
        return self.row_of(np.append(self.extending(withheld), np.array(shorter, np.int32)))

    def extending(self, text: bytes) -> npt.NDArray[np.int32]:
        """int32 ``[n]``, the tokens that begin with ``text`` and go on after it."""
        first = bisect_right(self._sorted, text)
        last = bisect_left(self._sorted, text + b"\xff" * (self.max_token_len + 1), first)
        return self.order[first:last]

    def _equal_to(self, token: bytes) -> range:
        first = bisect_left(self._sorted, token)
        last = first
        while last < len(self._sorted) and self._sorted[last] == token:
            last += 1
        return range(first, last)


def digest_of(token_bytes: Sequence[bytes | None], eos_ids: Sequence[int]) -> str:
    """A hash of tokens and of those that end the output."""
    lengths = [-1 if token is None else len(token) for token in token_bytes]
    digest = hashlib.sha256()
    for numbers in (lengths, eos_ids):
        digest.update(np.array([len(numbers), *numbers], np.int64).tobytes())
    digest.update(b"".join(token for token in token_bytes if token is not None))
    return digest.hexdigest()


def build_trie(token_bytes: Sequence[bytes | None], without: Container[int]) -> Trie:
    """The trie of all tokens that have bytes, less some ids."""
    spelled = sorted(
        (token, token_id)
        for token_id, token in enumerate(token_bytes)
        if token and token_id not in without
    )
    node_bytes = bytearray()
    starts: list[int] = []  # per node: number of tokens before those that end here
    skips: list[int] = []
    path: list[int] = []  # nodes from the root to the previous token
    previous = b""
    for index, (token, _) in enumerate(spelled):
        if token == previous:
            continue
        common = _common_prefix_len(previous, token)
        for node in path[common:]:
            skips[node] = len(node_bytes)
        del path[common:]
        for position in range(common, len(token)):
            path.append(len(node_bytes))
            node_bytes.append(token[position])
            starts.append(index)
            skips.append(0)
        previous = token
    for node in path:
        skips[node] = len(node_bytes)
    starts.append(len(spelled))
    return Trie(
        np.array([token_id for _, token_id in spelled], np.int32),
        np.frombuffer(bytes(node_bytes), np.uint8),
        np.array(skips, np.int32),
        np.array(starts, np.int32),
    )


def _common_prefix_len(first: bytes, second: bytes) -> int:
    length = min(len(first), len(second))
    for position in range(length):
        if first[position] != second[position]:
            return position
    return length
