"""The top of a radix tree as plain values, for drawing. Bounded, since a tree may be huge."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from .eviction import EvictionPolicy
from .radix_tree import RadixTree, TreeNode

PREVIEW_TOKENS = 24


@dataclass(slots=True)
class NodeView:
    """One node; ``parent`` is the index of its parent's view, None for a child of the root."""

    parent: int | None
    extra_key: str | None
    num_tokens: int
    token_ids: list[int]  # the first of them
    hit_count: int
    lock_ref: int
    idle_seconds: float | None
    num_children: int  # shown or not


@dataclass(slots=True)
class TreeSnapshot:
    page_size: int
    total_tokens: int
    protected_tokens: int
    num_nodes: int
    num_children: int  # of the root
    nodes: list[NodeView]


def take_snapshot(
    tree: RadixTree, policy: EvictionPolicy, most_nodes: int, most_children: int
) -> TreeSnapshot:
    """Level by level from the root, at most so many nodes, and children of a node."""
    views: list[NodeView] = []
    pending: deque[tuple[int | None, TreeNode]] = deque()
    pending.extend((None, child) for child in islice(tree.root.children.values(), most_children))
    while pending and len(views) < most_nodes:
        parent, node = pending.popleft()
        children = islice(node.children.values(), most_children)
        pending.extend((len(views), child) for child in children)
        views.append(
            NodeView(
                parent=parent,
                extra_key=tree.namespace(node) if parent is None else views[parent].extra_key,
                num_tokens=len(node),
                token_ids=node.token_ids[:PREVIEW_TOKENS].tolist(),
                hit_count=node.hit_count,
                lock_ref=node.lock_ref,
                idle_seconds=policy.idle_seconds(node) if node.last_access else None,
                num_children=len(node.children),
            )
        )
    return TreeSnapshot(
        page_size=tree.page_size,
        total_tokens=tree.total_size,
        protected_tokens=tree.protected_size,
        num_nodes=tree.num_nodes,
        num_children=len(tree.root.children),
        nodes=views,
    )
