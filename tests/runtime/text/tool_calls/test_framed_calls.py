"""Tool calls in every model's format, found in texts that come in pieces of any size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.runtime.text.answer import Answer
from sglang_lang.runtime.text.pieces import CallArguments, PieceParser
from sglang_lang.runtime.text.tool_calls.call_format import FORMATS
from sglang_lang.runtime.text.tool_calls.framed_calls import FramedCallParser
from sglang_lang.runtime.text.tool_calls.pythonic_calls import PythonicCallParser

NAMES = ("get_weather", "add")
OSLO = ("get_weather", {"city": "Oslo", "days": [1, 2]})
SUM = ("add", {"a": 1, "b": -2.5, "note": 'a "quoted" } brace'})
Calls = Sequence[tuple[str, dict[str, Any]]]


def parser(name: str, most: int | None = None) -> PieceParser:
    kind = PythonicCallParser if name == "pythonic" else FramedCallParser
    return kind(FORMATS[name], NAMES, most)


def read(name: str, text: str, size: int = 1000, most: int | None = None) -> Answer:
    answer, reader = Answer(), parser(name, most)
    for start in range(0, len(text), size):
        answer.add(reader.feed(text[start : start + size]))
    answer.add(reader.finish())
    return answer


def told(answer: Answer) -> Calls:
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


# format, text, content, calls
CASES: list[tuple[str, str, str, Calls]] = [
    (
        "hermes",
        'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", '
        '"days": [1, 2]}}\n</tool_call>\n<tool_call>\n{"name": "add", "arguments": {"a": 1, '
        '"b": -2.5, "note": "a \\"quoted\\" } brace"}}\n</tool_call>',
        "Let me see.",
        [OSLO, SUM],
    ),
    (
        "hermes",
        '<tool_call>{"arguments": {"city": "Oslo", "days": [1, 2]}, "name": "get_weather"}'
        "</tool_call> Done.",
        "Done.",
        [OSLO],
    ),
    ("hermes", '<tool_call>{"name": "add"}</tool_call>', "", [("add", {})]),
    (
        "llama3",
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo", "days": [1, 2]}}',
        "",
        [OSLO],
    ),
    (
        "llama3",
        '{"name": "get_weather", "parameters": {"city": "Oslo", "days": [1, 2]}}; '
        '{"type": "function", "name": "add", "parameters": {}}',
        "",
        [OSLO, ("add", {})],
    ),
    (
        "mistral",
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo", "days": [1, 2]}}, '
        '{"name": "add", "arguments": {}}]',
        "",
        [OSLO, ("add", {})],
    ),
    (
        "mistral",
        'Sure.[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo", "days": [1, 2]}[TOOL_CALLS]add'
        "[CALL_ID]a1b2c3d4e[ARGS]{}",
        "Sure.",
        [OSLO, ("add", {})],
    ),
    (
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Oslo", "days": [1, 2]}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function'
        "<｜tool▁sep｜>add\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        [OSLO, ("add", {})],
    ),
    (
        "deepseek",
        "Hm. <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
        '{"city": "Oslo", "days": [1, 2]}<｜tool▁call▁end｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>'
        "{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Hm.",
        [OSLO, ("add", {})],
    ),
    (
        "pythonic",
        '[get_weather(city="Oslo", days=[1, 2]), add(a=1, b=-2.5, note=\'a "quoted" } brace\')]',
        "",
        [OSLO, SUM],
    ),
    ("pythonic", "<|tool_call_start|>[add()]<|tool_call_end|>Ok.", "Ok.", [("add", {})]),
    ("pythonic", "[add(a={'x': (1, None, true)})]", "", [("add", {"a": {"x": [1, None, True]}})]),
    (
        "json",
        '```json\n[{"name": "get_weather", "arguments": {"city": "Oslo", "days": [1, 2]}},\n'
        '{"name": "add", "arguments": {}}]\n```',
        "",
        [OSLO, ("add", {})],
    ),
    ("json", '{"name": "add", "arguments": {}}', "", [("add", {})]),
    # --- what is no call stays content, to the letter
    ("hermes", "a < b and <tool", "a < b and <tool", []),
    ("hermes", "<tool_call>\nnothing\n</tool_call>!", "<tool_call>\nnothing\n</tool_call>!", []),
    ("hermes", '<tool_call>{"name": "rm", "arguments": {}}', None, []),  # type: ignore[list-item]
    ("llama3", '{"answer": 42}', '{"answer": 42}', []),
    ("llama3", "  Hello {you}", "  Hello {you}", []),
    ("json", "[1, 2, 3] are numbers", "[1, 2, 3] are numbers", []),
    ("json", "[[1, {}]] is {", "[[1, {}]] is {", []),
    ("mistral", "[TOOL_CALLS] {", "[TOOL_CALLS] {", []),
    ("pythonic", "[1, 2] (three)", "[1, 2] (three)", []),
    ("pythonic", "[see here](http://x)", "[see here](http://x)", []),
]


@pytest.mark.parametrize(("name", "text", "content", "calls"), CASES)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_calls_and_content_are_told_apart(
    name: str, text: str, content: str | None, calls: Calls, size: int
) -> None:
    answer = read(name, text, size)
    assert told(answer) == list(calls)
    assert answer.content == (text if content is None else content)


@pytest.mark.parametrize("name", ["hermes", "llama3", "mistral", "json", "pythonic"])
def test_arguments_come_as_they_are_written(name: str) -> None:
    texts: dict[str, str] = {}
    for kind, text, _, calls in CASES:
        if calls and calls[0] == OSLO:
            texts.setdefault(kind, text)
    reader = parser(name)
    deltas: list[list[str]] = []
    for char in texts[name]:
        pieces = reader.feed(char)
        deltas.append([piece.text for piece in pieces if isinstance(piece, CallArguments)])
    assert sum(1 for d in deltas if d) > 2
    assert max(len(text) for d in deltas for text in d) < 40


def test_only_so_many_calls_are_taken_as_are_wanted() -> None:
    for name, text, _, calls in CASES:
        if len(calls) > 1:
            answer = read(name, text, 5, most=1)
            assert told(answer) == [calls[0]]
            assert calls[1][0] not in answer.content


def test_a_call_that_is_cut_off_keeps_what_it_has() -> None:
    answer = read("hermes", '<tool_call>\n{"name": "add", "arguments": {"a": 1', 4)
    assert [(call.name, call.arguments) for call in answer.calls] == [("add", '{"a": 1')]
    answer = read("pythonic", '[add(a=1, b="x', 4)
    assert [(call.name, call.arguments) for call in answer.calls] == [("add", '{"a": 1')]


@given(
    text=st.text() | st.text("[ \n"), size=st.integers(1, 9), name=st.sampled_from(sorted(FORMATS))
)
def test_text_without_calls_is_never_changed(text: str, size: int, name: str) -> None:
    answer = read(name, text, size)
    assert (answer.content, answer.calls) == (text, [])


PARTS = [
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "```json", "add("),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁sep｜>",
        '{"name": "add"',
        '"arguments": {',
        "}",
        "]",
        "[",
    ),
    *(",", " ", "\n", '"', ")", "a=", "1", "{", "\\", "f", ":", "get_weather"),
]


@given(parts=st.lists(st.sampled_from(PARTS)), name=st.sampled_from(sorted(FORMATS)))
def test_pieces_do_not_depend_on_how_the_text_arrives(parts: list[str], name: str) -> None:
    whole, by_char = read(name, "".join(parts)), read(name, "".join(parts), 1)
    assert [(c.name, c.arguments) for c in whole.calls] == [
        (c.name, c.arguments) for c in by_char.calls
    ]
    assert whole.content == by_char.content


@pytest.mark.parametrize("cut", range(1, 26))
def test_a_mark_that_max_tokens_cuts_off_behind_a_call_is_no_content(cut: int) -> None:
    ending = "\n</tool_call>\n<tool_call>\n"
    answer = read("hermes", '<tool_call>\n{"name": "add", "arguments": {}}' + ending[:cut])
    assert (answer.content, told(answer)) == ("", [("add", {})])
