"""Vocabularies kept on disk by a hash of their tokens, so that starting is quick.

A file that cannot be read, or that does not fit the tokens, is made anew.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from sglang_lang.kernels.native import cache_folder

from .vocabulary import Trie, Vocabulary, build_trie, digest_of

FORMAT = "trie1"  # of the files, and how their names end
HEADER = struct.Struct("<qq")  # lengths of `order` and of `node_bytes`; then the arrays


def load_vocabulary(
    token_bytes: Sequence[bytes | None],
    eos_token_ids: Iterable[int],
    folder: Path | None = None,
) -> Vocabulary:
    """The vocabulary of some tokens, its trie from disk if it was built before.

    Args:
        token_bytes: the bytes of each token, None for special tokens.
        eos_token_ids: tokens that end the output.
        folder: where tries are kept; by default in the cache folder.
    """
    eos_ids = sorted(set(eos_token_ids))
    folder = cache_folder() / "vocabularies" if folder is None else folder
    path = folder / f"{digest_of(token_bytes, eos_ids)}.{FORMAT}"
    num_spelled = sum(bool(token) for token in token_bytes)
    num_spelled -= sum(bool(token_bytes[token_id]) for token_id in eos_ids)
    trie = _read(path, len(token_bytes), num_spelled)
    if trie is None:
        trie = build_trie(token_bytes, eos_ids)
        _write(path, trie)
    return Vocabulary(token_bytes, eos_ids, trie)


def _read(path: Path, num_tokens: int, num_spelled: int) -> Trie | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < HEADER.size:
        return None
    num_ordered, num_nodes = HEADER.unpack_from(data)
    lengths = (4 * num_spelled, num_nodes, 4 * num_nodes, 4 * (num_nodes + 1))
    if num_ordered != num_spelled or len(data) != HEADER.size + sum(lengths):
        return None
    ends = [*accumulate(lengths, initial=HEADER.size)]
    order, node_bytes, node_skip, node_tokens = (data[a:b] for a, b in pairwise(ends))
    trie = Trie(
        np.frombuffer(order, np.int32),
        np.frombuffer(node_bytes, np.uint8),
        np.frombuffer(node_skip, np.int32),
        np.frombuffer(node_tokens, np.int32),
    )
    return trie if _fits(trie, num_tokens) else None


def _fits(trie: Trie, num_tokens: int) -> bool:
    """Whether native code may walk the arrays."""
    num_nodes = len(trie.node_bytes)
    nodes = np.arange(num_nodes)
    return bool(
        ((trie.order >= 0) & (trie.order < num_tokens)).all()
        and ((trie.node_skip > nodes) & (trie.node_skip <= num_nodes)).all()
        and (np.diff(trie.node_tokens) >= 0).all()
        and trie.node_tokens[-1] == len(trie.order)
        and trie.node_tokens[0] >= 0
    )


def _write(path: Path, trie: Trie) -> None:
    """Keeps a trie; where the folder cannot be written it is built again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as scratch:
            scratch.write(HEADER.pack(len(trie.order), len(trie.node_bytes)))
            scratch.writelines(part.tobytes() for part in trie)
        os.replace(scratch.name, path)
    except OSError:
        return
