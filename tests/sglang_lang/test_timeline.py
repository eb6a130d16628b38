"""The trace that ``run --trace`` writes, read as the Trace Event Format says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from sglang_lang import cli

from .scripted import ScriptedBackend

PROGRAM = """
import sglang_lang as sgl

@sgl.function
def tips(s):
    s += "Tips: " + sgl.gen("first")
    forks = s.fork(2)
    forks += sgl.select("x", ["answer", "b"])
    forks.join()

tips.run()
"""
FAILING = PROGRAM.replace("tips.run()", "tips.run_batch([{}, {}]); raise SystemExit(3)")

# Perfetto and chrome://tracing ask for this of each kind of event.
NUMBER = {"type": "number", "minimum": 0}
COMMON = {
    "ph": {"enum": ["X", "M", "s", "f"]},
    "pid": {"type": "integer"},
    "tid": {"type": "integer"},
    "name": {"type": "string", "minLength": 1},
}
FORMAT = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "traceEvents": {
            "type": "array",
            "items": {
                "type": "object",
                "required": list(COMMON),
                "properties": COMMON,
                "oneOf": [
                    {
                        "properties": {"ph": {"const": "X"}, "ts": NUMBER, "dur": NUMBER},
                        "required": ["ts", "dur", "cat", "args"],
                    },
                    {
                        "properties": {
                            "ph": {"const": "M"},
                            "name": {"enum": ["process_name", "thread_name"]},
                            "args": {"required": ["name"]},
                        },
                        "required": ["args"],
                    },
                    {
                        "properties": {"ph": {"enum": ["s", "f"]}, "ts": NUMBER},
                        "required": ["ts", "id", "cat"],
                    },
                ],
            },
        },
    },
}


def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> tuple[int, Path]:
    monkeypatch.setattr(cli.Connection, "_connect", lambda _: ScriptedBackend())
    monkeypatch.setattr("sys.argv", [])
    file, trace = tmp_path / "program.py", tmp_path / "out.json"
    file.write_text(program)
    try:
        return cli.main(["run", str(file), "--trace", str(trace)]), trace
    except SystemExit as end:
        return int(str(end.code)), trace


def test_calls_lie_in_their_programs_and_forks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, path = traced(tmp_path, monkeypatch, PROGRAM)
    assert status == 0
    trace = json.loads(path.read_text())
    jsonschema.validate(trace, FORMAT)
    events = trace["traceEvents"]
    lanes = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(lanes.values()) == ["tips", "tips fork 0", "tips fork 1"]
    calls = [(lanes[e["tid"]], e["name"]) for e in events if e.get("cat") == "call"]
    assert calls == [
        ("tips", "gen first"),
        ("tips fork 0", "select x"),
        ("tips fork 1", "select x"),
    ]
    programs = {e["tid"]: e for e in events if e.get("cat") == "program"}
    for call in (e for e in events if e.get("cat") == "call"):
        around = programs[call["tid"]]
        assert around["ts"] <= call["ts"]
        assert call["ts"] + call["dur"] <= around["ts"] + around["dur"] + 1
    arrows = [(e["ph"], e["id"]) for e in events if e["name"] == "fork"]
    assert arrows == [("s", 2), ("f", 2), ("s", 3), ("f", 3)]


def test_a_program_that_fails_leaves_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, path = traced(tmp_path, monkeypatch, FAILING)
    assert status == 3
    jsonschema.validate(json.loads(path.read_text()), FORMAT)
    events = json.loads(path.read_text())["traceEvents"]
    assert sum(event.get("cat") == "program" for event in events) == 6
