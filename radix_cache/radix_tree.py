"""The radix tree of cached sequences: token ids on the edges, KV slots beside them.

It knows token ids, slots and locks; not which leaf should go first (eviction.py), nor who owns the
slots (prefix_cache.py). RadixAttention: Zheng et al., "SGLang: Efficient Execution of Structured
Language Model Programs", arXiv:2312.07104, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
TokenIds = Int32Array | Sequence[int]

TOKEN_BYTES = 4  # a token id or a slot is an int32


class TreeNode:
    """A run of cached tokens below ``parent``.

    ``key`` (token ids) and ``slots`` are int32 arrays frozen into ``bytes``: equal spans are found
    by one memcmp, paths joined by one memcpy, and what was handed out cannot change.
    ``lock_ref`` counts the locks held on this node plus its children that are locked, so it is
    positive exactly on the paths from the root to a locked node.
    The statistics below it are those of the sequences that end here, or ended in a leaf evicted
    from below; a node is ranked by them once it is a leaf itself.
    """

    __slots__ = (
        "parent",
        "children",
        "edge",
        "key",
        "slots",
        "lock_ref",
        "created",
        "last_access",
        "hit_count",
        "priority",
        "queued",
    )

    def __init__(self, parent: TreeNode | None, edge: bytes, key: bytes, slots: bytes) -> None:
        self.parent = parent
        self.children: dict[bytes, TreeNode] = {}
        self.edge = edge  # what ``parent.children`` holds this node under
        self.key = key
        self.slots = slots
        self.lock_ref = 0
        self.created = 0.0
        self.last_access = 0.0
        self.hit_count = 0
        self.priority = 0
        self.queued = False  # has an entry in the eviction queue

    def __len__(self) -> int:
        """Tokens on this node alone."""
        return len(self.key) // TOKEN_BYTES

    @property
    def is_evictable(self) -> bool:
        return not self.children and self.lock_ref == 0 and self.parent is not None

    @property
    def token_ids(self) -> Int32Array:
        return np.frombuffer(self.key, dtype=np.int32)

    @property
    def slot_ids(self) -> Int32Array:
        return np.frombuffer(self.slots, dtype=np.int32)


class PathMatch(NamedTuple):
    """The longest cached prefix of a key: ``len(slots)`` bytes of it, ending in ``node``."""

    slots: bytes
    node: TreeNode


class Span(NamedTuple):
    """The end of a cached sequence: tokens ``start ..`` of ``key``, whose slots are ``slots``."""

    extra_key: str | None
    key: bytes  # from the root on, like ``slots``
    slots: bytes
    start: int

    @property
    def end(self) -> int:
        return len(self.key) // TOKEN_BYTES


class RadixTree:
    """Longest-prefix lookup over whole pages of tokens, with reference-counted locks.

    The first page of a child is its name in ``children``, so two children differ within their
    first page and every node is a whole number of pages. At the root the name also carries the
    namespace: sequences of two namespaces share no node.

    Args:
        page_size: tokens to a page; keys are cut to whole pages.
        on_evictable: called with each node that became a leaf without locks.
    """

    def __init__(self, page_size: int, on_evictable: Callable[[TreeNode], None]) -> None:
        self.page_size = page_size
        self.root = TreeNode(None, b"", b"", b"")
        self.total_size = 0
        self.protected_size = 0
        self.num_nodes = 0
        self._page_bytes = page_size * TOKEN_BYTES
        self._on_evictable = on_evictable

    @property
    def evictable_size(self) -> int:
        return self.total_size - self.protected_size

    def key_of(self, token_ids: TokenIds) -> bytes:
        """The tokens as a key: int32, cut to whole pages."""
        aligned_len = len(token_ids) // self.page_size * self.page_size
        return np.asarray(token_ids[:aligned_len], dtype=np.int32).tobytes()

    def match(self, key: bytes, extra_key: str | None) -> PathMatch:
        """Find the longest cached prefix; a node it ends inside of is split there."""
        node, slots, end = self._descend(key, extra_key)
        child = node.children.get(self._edge(key, end, extra_key))
        if child is not None:
            node = self._split(child, self._common_len(child, key, end))
            slots.append(node.slots)
        return PathMatch(b"".join(slots), node)

    def prefix_len(self, key: bytes, extra_key: str | None) -> int:
        """Tokens of the longest cached prefix; changes nothing."""
        node, _, end = self._descend(key, extra_key)
        child = node.children.get(self._edge(key, end, extra_key))
        if child is not None:
            end += self._common_len(child, key, end)
        return end // TOKEN_BYTES

    def insert(self, key: bytes, slots: bytes, extra_key: str | None) -> tuple[int, TreeNode]:
        """Add what is missing of ``key``; the tree keeps its own slots for the rest.

        Returns:
            The bytes of ``key`` that were cached before, and the node where ``key`` now ends.
        """
        matched, node = self.match(key, extra_key)
        start = len(matched)
        if start == len(key):
            return start, node
        edge = self._edge(key, start, extra_key)
        leaf = TreeNode(node, edge, key[start:], slots[start:])
        node.children[edge] = leaf
        self.total_size += len(leaf)
        self.num_nodes += 1
        return start, leaf

    def lock(self, node: TreeNode) -> None:
        """Protect the path from the root to ``node``."""
        assert self.holds(node), "the node left the tree before it was locked"
        while node.parent is not None:
            node.lock_ref += 1
            if node.lock_ref > 1:
                return
            self.protected_size += len(node)
            node = node.parent

    def unlock(self, node: TreeNode) -> None:
        """Take back one ``lock``."""
        leaf = node
        while node.parent is not None:
            assert node.lock_ref > 0, "unlocked more often than locked"
            node.lock_ref -= 1
            if node.lock_ref > 0:
                break
            self.protected_size -= len(node)
            node = node.parent
        if leaf.is_evictable:
            self._on_evictable(leaf)

    def remove(self, leaf: TreeNode) -> None:
        """Take an evictable leaf out; its parent inherits its statistics."""
        parent = leaf.parent
        assert parent is not None and leaf.is_evictable, "only an unlocked leaf can be removed"
        del parent.children[leaf.edge]
        leaf.parent = None
        self.total_size -= len(leaf)
        self.num_nodes -= 1
        parent.last_access = max(parent.last_access, leaf.last_access)
        parent.hit_count += leaf.hit_count
        parent.priority = max(parent.priority, leaf.priority)
        if parent.is_evictable:
            self._on_evictable(parent)

    def truncate(self, leaf: TreeNode, num_tokens: int) -> None:
        """Cut an evictable leaf down to its first ``num_tokens`` tokens (whole pages)."""
        assert leaf.is_evictable and 0 < num_tokens < len(leaf)
        self.total_size -= len(leaf) - num_tokens
        leaf.key = leaf.key[: num_tokens * TOKEN_BYTES]
        leaf.slots = leaf.slots[: num_tokens * TOKEN_BYTES]

    def span(self, node: TreeNode, keep: int = 0) -> Span:
        """The sequence that ends with ``node``; its start is ``keep`` tokens into the node."""
        keys: list[bytes] = []
        slots: list[bytes] = []
        top = lowest = node
        while node.parent is not None:
            keys.append(node.key)
            slots.append(node.slots)
            top, node = node, node.parent
        key = b"".join(reversed(keys))
        start = len(key) // TOKEN_BYTES - len(lowest) + keep
        return Span(self.namespace(top), key, b"".join(reversed(slots)), start)

    def holds(self, node: TreeNode) -> bool:
        return node.parent is not None or node is self.root

    def nodes(self) -> Iterator[TreeNode]:
        """Every node but the root, parents first."""
        pending = list(self.root.children.values())
        while pending:
            node = pending.pop()
            yield node
            pending.extend(node.children.values())

    def check_integrity(self) -> None:
        """AssertionError when the tree is not what its own docstrings say."""
        total = protected = count = 0
        for node in self.nodes():
            parent = node.parent
            assert parent is not None and parent.children.get(node.edge) is node
            assert len(node) > 0 and len(node) % self.page_size == 0, f"{len(node)} tokens"
            assert len(node.slots) == len(node.key), "as many slots as tokens"
            first_page = node.key[: self._page_bytes]
            assert node.edge == first_page or (
                parent is self.root and node.edge.startswith(first_page + b":")
            ), "a child is not under its first page"
            locked_children = sum(child.lock_ref > 0 for child in node.children.values())
            assert node.lock_ref >= locked_children, "a locked node below an unlocked one"
            count += 1
            total += len(node)
            protected += len(node) if node.lock_ref else 0
        assert (count, total, protected) == (
            self.num_nodes,
            self.total_size,
            self.protected_size,
        ), f"counted {count} nodes, {total} tokens, {protected} locked"

    def _descend(self, key: bytes, extra_key: str | None) -> tuple[TreeNode, list[bytes], int]:
        """Follow the nodes that ``key`` contains whole.

        Returns:
            The last such node, the slots along the path, and the bytes of ``key`` it covers.
        """
        node, end = self.root, 0
        slots: list[bytes] = []
        page_bytes = self._page_bytes
        edge = self._edge(key, 0, extra_key)
        while (child := node.children.get(edge)) is not None:
            span = child.key
            # The edge has compared the first page already.
            if len(span) > page_bytes and not key.startswith(span, end):
                break
            end += len(span)
            slots.append(child.slots)
            node = child
            edge = key[end : end + page_bytes]
        return node, slots, end

    def _edge(self, key: bytes, start: int, extra_key: str | None) -> bytes:
        page = key[start : start + self._page_bytes]
        if start > 0 or extra_key is None:
            return page
        return page + b":" + extra_key.encode("utf-8", "surrogatepass")

    def namespace(self, top: TreeNode) -> str | None:
        """The ``extra_key`` that ``_edge`` put into the name of a child of the root."""
        name = top.edge[self._page_bytes :]
        return name[1:].decode("utf-8", "surrogatepass") if name else None

    def _common_len(self, child: TreeNode, key: bytes, start: int) -> int:
        """Bytes, in whole pages, that ``child.key`` shares with ``key[start:]``."""
        count = min(len(child), (len(key) - start) // TOKEN_BYTES)
        wanted = np.frombuffer(key, np.int32, count, start)
        differs = wanted != child.token_ids[:count]
        common = int(differs.argmax()) if differs.any() else count
        return common // self.page_size * self._page_bytes

    def _split(self, lower: TreeNode, size: int) -> TreeNode:
        """Put a new node with the first ``size`` bytes of ``lower`` above it.

        ``lower`` stays the same object, so that a lock held on it still covers the whole path.
        """
        parent = lower.parent
        assert parent is not None
        upper = TreeNode(parent, lower.edge, lower.key[:size], lower.slots[:size])
        upper.lock_ref = min(lower.lock_ref, 1)
        upper.created = lower.created
        parent.children[upper.edge] = upper
        lower.parent = upper
        lower.key = lower.key[size:]
        lower.slots = lower.slots[size:]
        lower.edge = lower.key[: self._page_bytes]
        upper.children[lower.edge] = lower
        self.num_nodes += 1
        return upper
