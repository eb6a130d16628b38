"""Draws a radix tree of a server in a terminal: what is cached, how long, how often asked for."""

from __future__ import annotations

from typing import Any

import httpx
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .errors import BackendError

TIMEOUT_SECONDS = 30.0


def fetch(url: str, api_key: str | None, nodes: int) -> dict[str, Any]:
    """What GET /radix_tree says.

    Raises:
        BackendError: no server is there, or it refuses.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        reply = httpx.get(
            f"{url.rstrip('/')}/radix_tree",
            params={"nodes": nodes},
            headers=headers,
            timeout=TIMEOUT_SECONDS,
        )
    except httpx.HTTPError as error:
        raise BackendError(f"{url}: {error}") from error
    if reply.status_code != httpx.codes.OK:
        raise BackendError(f"{url}/radix_tree: {reply.status_code} {reply.text[:200]}")
    snapshot: dict[str, Any] = reply.json()
    return snapshot


def draw(snapshot: dict[str, Any]) -> None:
    Console(highlight=False).print(tree_of(snapshot))


def tree_of(snapshot: dict[str, Any]) -> Tree:
    stats = snapshot["stats"]
    root = Tree(
        f"[bold]{snapshot['total_tokens']:,} tokens[/] in {snapshot['num_nodes']:,} nodes, "
        f"{snapshot['protected_tokens']:,} in use; hit rate {stats['cache_hit_rate']:.0%}, "
        f"{stats['evicted_tokens']:,} tokens evicted"
    )
    branches: list[Tree] = []
    shown = [0] * len(snapshot["nodes"])
    shown_roots = 0
    for node in snapshot["nodes"]:
        parent = node["parent"]
        if parent is None:
            shown_roots += 1
        else:
            shown[parent] += 1
        branches.append((root if parent is None else branches[parent]).add(_line(node)))
    for node, branch, count in zip(snapshot["nodes"], branches, shown, strict=True):
        _add_rest(branch, node["num_children"] - count)
    _add_rest(root, snapshot["num_children"] - shown_roots)
    return root


def _add_rest(branch: Tree, count: int) -> None:
    if count:
        branch.add(f"[dim]… {count:,} more[/]")


def _line(node: dict[str, Any]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(_counted(node["num_tokens"], "token"), style="cyan")
    if node["hit_count"]:
        line.append(f", {_counted(node['hit_count'], 'hit')}")
    if node["lock_ref"]:
        line.append(f", {_counted(node['lock_ref'], 'lock')}", style="yellow")
    if node["idle_seconds"] is not None:
        line.append(f", {node['idle_seconds']:,.0f} s ago", style="dim")
    if node["parent"] is None and node["extra_key"] is not None:
        line.append(f" {node['extra_key']}", style="magenta")
    rest = "…" if node["num_tokens"] > len(node["token_ids"]) else ""
    line.append(f" {node['text']!r}{rest}", style="green")
    return line


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
