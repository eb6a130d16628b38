"""Framed tool calls: their language against llguidance's, and many tools at once."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from sglang_lang.constrained.backend import CompiledGrammar
from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_token_bytes([*(bytes([b]) for b in range(256)), None], [256])
NATIVE = GrammarCompiler(VOCABULARY)
LLGUIDANCE = GrammarCompiler(VOCABULARY, "llguidance")
ADD, NOW = '{"name": "add", "arguments": {"x": 12}}', '{"name": "now", "arguments": {}}'
FRAMES = [
    {"begin": "<tool_call>\n", "end": "\n</tool_call>", "separator": "\n"},
    {"opening": "[TOOL_CALLS] [", "separator": ", ", "closing": "]"},
    {"begin": "<f>", "separator": "\n"},
    {"separator": "\n"},
    {"opening": "<calls>", "begin": " ", "closing": "</calls>"},
]


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


ADD_CALL = call("add", {"type": "object", "properties": {"x": {"type": "integer"}}})
ADD_CALL["properties"]["arguments"] |= {"required": ["x"], "additionalProperties": False}
NOW_CALL = call("now", {"type": "object", "additionalProperties": False})


def constraint(frame: dict[str, str], least: int, most: int | None, calls: Any = None) -> str:
    texts = dict.fromkeys(("opening", "begin", "end", "separator", "closing"), "") | frame
    return json.dumps({**texts, "calls": calls or [ADD_CALL, NOW_CALL], "min": least, "max": most})


def admits(grammar: CompiledGrammar, text: str) -> bool:
    matcher = grammar.matcher()
    return all(map(matcher.accept_token, text.encode())) and matcher.is_accepting()


def texts(frame: dict[str, str], count: int) -> list[str]:
    """Every list of this many of the two calls, in the frame."""
    begin, end = frame.get("begin", ""), frame.get("end", "")
    return [
        frame.get("opening", "")
        + frame.get("separator", "").join(f"{begin}{item}{end}" for item in items)
        + frame.get("closing", "")
        for items in itertools.product((ADD, NOW), repeat=count)
    ]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 2), (2, None), (0, 1), (0, None)])
def test_the_language_is_the_framed_lists_of_calls(
    frame: dict[str, str], least: int, most: int | None
) -> None:
    value = constraint(frame, least, most)
    for compiler in (NATIVE, LLGUIDANCE):
        grammar = compiler.compile("tool_calls", value)
        for count in range(4):
            right = least <= count and (most is None or count <= most)
            for text in texts(frame, count):
                assert admits(grammar, text) == right, text
                assert not admits(grammar, text.replace("12", '"12"') + " ")


def test_the_frame_and_the_name_are_forced_where_nothing_else_can_come() -> None:
    frame = FRAMES[0]
    matcher = NATIVE.compile("tool_calls", constraint(frame, 1, 1, [ADD_CALL])).matcher()
    forced = matcher.forced()
    assert forced == b'<tool_call>\n{"name": "add", "arguments": {"x": '
    assert all(map(matcher.accept_token, forced + b"7}}")) and not matcher.is_terminated()
    assert matcher.forced() == b"\n</tool_call>"
    assert all(map(matcher.accept_token, matcher.forced())) and matcher.is_terminated()


def test_every_one_of_many_tools_can_be_called() -> None:
    calls = [call(f"tool_{i}", {"const": {"n": i}}) for i in range(200)]
    grammar = NATIVE.compile("tool_calls", constraint(FRAMES[0], 1, None, calls))
    for i in (0, 63, 64, 128, 199):
        item = json.dumps({"name": f"tool_{i}", "arguments": {"n": i}})
        assert admits(grammar, f"<tool_call>\n{item}\n</tool_call>")
        wrong = item.replace(f'"n": {i}', f'"n": {i + 1}')
        assert not admits(grammar, f"<tool_call>\n{wrong}\n</tool_call>")


def test_references_are_looked_up_in_the_call_they_stand_in() -> None:
    calls = [
        call(name, {"$ref": "#/$defs/a"}) | {"$defs": {"a": {"const": name * 2}}}
        for name in ("f", "g")
    ]
    grammar = NATIVE.compile("tool_calls", constraint(FRAMES[1], 1, 1, calls))
    assert admits(grammar, '[TOOL_CALLS] [{"name": "g", "arguments": "gg"}]')
    assert not admits(grammar, '[TOOL_CALLS] [{"name": "g", "arguments": "ff"}]')


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"begin": 1}, "begin"),
        ({"calls": []}, "calls"),
        ({"calls": ["f"]}, "calls"),
        ({"calls": [{"type": "objet"}]}, "objet"),
        ({"min": -1}, "min"),
        ({"min": 2, "max": 1}, "max"),
        ({"min": True}, "min"),
        ({"minimum": 1}, "minimum"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], named: str) -> None:
    value = {**json.loads(constraint(FRAMES[0], 1, 1)), **changes}
    with pytest.raises(GrammarError, match=named):
        NATIVE.compile("tool_calls", json.dumps(value))
