"""The radix tree in a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from sglang_lang import cli
from sglang_lang.cache_view import tree_of


def node(parent: int | None, text: str, **values: Any) -> dict[str, Any]:
    return {
        "parent": parent,
        "extra_key": None,
        "num_tokens": 3,
        "token_ids": [1, 2, 3],
        "hit_count": 0,
        "lock_ref": 0,
        "idle_seconds": None,
        "num_children": 0,
        "text": text,
        **values,
    }


def drawn(*nodes: dict[str, Any], num_children: int) -> str:
    snapshot = {
        "page_size": 1,
        "total_tokens": 1234,
        "protected_tokens": 5,
        "num_nodes": 30,
        "num_children": num_children,
        "nodes": list(nodes),
        "stats": {"cache_hit_rate": 0.75, "evicted_tokens": 10},
    }
    console = Console(width=100, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(tree_of(snapshot))
    return capture.get()


def test_children_hang_below_their_parents_and_the_rest_is_counted() -> None:
    lines = drawn(
        node(None, "You are", num_children=12),
        node(0, " kind\n", hit_count=7, lock_ref=1, idle_seconds=3.2),
        num_children=3,
    ).splitlines()
    assert lines == [
        "1,234 tokens in 30 nodes, 5 in use; hit rate 75%, 10 tokens evicted",
        "├── 3 tokens 'You are'",
        "│   ├── 3 tokens, 7 hits, 1 lock, 3 s ago ' kind\\n'",
        "│   └── … 11 more",
        "└── … 2 more",
    ]


def test_a_prompt_is_no_markup_and_long_ones_are_cut() -> None:
    text = drawn(node(None, "[bold]x[/]", num_tokens=900, extra_key="[t]"), num_children=1)
    assert "900 tokens [t] '[bold]x[/]'…" in text
    lines = drawn(node(None, "long " * 100), num_children=1).splitlines()
    assert len(lines) == 2 and lines[1].endswith("…")


def test_no_server_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "--url", "http://127.0.0.1:9"]) == 2
    assert capsys.readouterr().err.startswith("sglang-lang: http://127.0.0.1:9: ")
