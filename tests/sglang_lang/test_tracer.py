"""Graphs of programs: their nodes, what each waits for, where they end, how they are drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest

import sglang_lang as sgl
from sglang_lang.graph import Assign, ProgramGraph


def kinds(graph: ProgramGraph) -> list[str]:
    return [node.kind for node in graph.nodes]


@sgl.function
def forking(s: sgl.ProgramState, topic: str) -> None:
    s += "About " + topic
    forks = s.fork(2)
    forks += sgl.gen("x")
    forks.join()
    s += "pick " + sgl.select("best", ["a", "b"])


def test_nodes_wait_for_what_comes_before_them() -> None:
    graph = forking.trace()
    assert graph.is_complete
    assert kinds(graph) == ["text", "argument", "fork", "gen", "gen", "join", "text", "select"]
    assert [node.parents for node in graph.nodes] == [[], [0], [1], [2], [2], [2, 3, 4], [5], [6]]
    assert [node.branch for node in graph.nodes] == [0, 0, 0, 1, 2, 0, 0, 0]


def test_a_value_waits_for_the_node_that_gives_it() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> Any:
        s += sgl.gen("x")
        with s.copy() as c:
            c += "again: " + s["x"]
            c += sgl.gen("y")
        s["both"] = [s["x"], s["y"]]
        return {"x": s["x"]}

    graph = program.trace()
    assert kinds(graph) == ["gen", "fork", "text", "value", "gen", "join", "set"]
    assert graph.nodes[3].parents == [0, 2]
    assert graph.nodes[6].parents == [0, 5]
    assert isinstance(graph.nodes[6].operation, Assign)
    assert graph.result["x"].node == 0


def test_an_f_string_may_hold_arguments() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, question: str, hint: str) -> None:
        s += sgl.user(f"Q: {question}\nHint: {hint}")
        s += sgl.assistant(sgl.gen("x"))

    graph = program.trace()
    assert [str(node) for node in graph.nodes][:5] == [
        "begin user",
        "text 'Q: '",
        "argument question",
        "text '\\nHint: '",
        "argument hint",
    ]
    assert [node.text for node in program.trace(question="why?").nodes][1] == "Q: why?\nHint: "


def program_that_reads(read: Any) -> sgl.SglFunction:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "before" + sgl.gen("x")
        read(s)
        s += "never traced"

    return program


@pytest.mark.parametrize(
    "read",
    [
        lambda s: bool(s["x"]),
        lambda s: s["x"].strip(),
        lambda s: f"{s['x']}",
        lambda s: isinstance(s["x"], str),
        lambda s: len(s["x"]),
        lambda s: s["x"] == "yes",
        lambda s: json.loads(s["x"]),
        lambda s: "".join([s["x"]]),
        lambda s: s.text(),
        lambda s: s["not there"],
        lambda s: s.set_var("y", object()),
    ],
)
def test_what_looks_at_a_generated_value_ends_the_trace(read: Any) -> None:
    graph = program_that_reads(read).trace()
    assert not graph.is_complete and graph.stopped_by
    assert kinds(graph) == ["text", "gen"]


def test_a_program_cannot_catch_the_end_of_its_trace() -> None:
    def read(s: Any) -> None:
        try:
            int(s["x"])
        except Exception:
            s += "not a number"

    assert kinds(program_that_reads(read).trace()) == ["text", "gen"]


def test_an_argument_that_is_looked_at_ends_the_trace() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, items: list[str]) -> None:
        s += "List:"
        for item in items:
            s += item

    assert not program.trace().is_complete
    assert program.trace(items=["a", "b"]).is_complete


def test_async_programs_are_traced() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("x")
        s += " " + await s.aget("x")

    assert kinds(program.trace()) == ["gen", "text", "value"]


def test_the_graph_is_printed_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += 'say "a<b"\n' + sgl.gen("x")
        if s["x"]:
            s += "more"

    graph = program.trace()
    graph.print_graph_dfs()
    assert capsys.readouterr().out == (
        "%0 = text 'say \"a<b\"\\n'\n%1 = gen x  after %0\n... the rest depends on s['x']\n"
    )
    assert graph.to_mermaid().splitlines() == [
        "flowchart TD",
        "    n0[\"text 'say &quot;a&lt;b&quot;\\n'\"]",
        '    n1(["gen x"])',
        "    n0 --> n1",
        "    more[\"depends on s['x']\"]",
        "    n1 -.-> more",
    ]
