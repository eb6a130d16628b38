"""Reasoning told apart from the answer, whatever the pieces in which a text arrives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.runtime.text.answer import Answer, AnswerParser
from sglang_lang.runtime.text.pieces import CallStart, PieceParser
from sglang_lang.runtime.text.reasoning.channels import ChannelParser
from sglang_lang.runtime.text.reasoning.reasoning_format import (
    REASONING_FORMATS,
    guess_reasoning,
)
from sglang_lang.runtime.text.reasoning.think_tags import ThinkTagParser


def read(parser: PieceParser, text: str, size: int) -> Answer:
    answer = Answer()
    for start in range(0, len(text), size):
        answer.add(parser.feed(text[start : start + size]))
    answer.add(parser.finish())
    return answer


# inside, text, reasoning, content
TAGS = [
    (False, "<think>\nHm. 2 < 3\n</think>\n\nYes.", "Hm. 2 < 3", "Yes."),
    (True, "Hm.\n</think>\n\nYes.", "Hm.", "Yes."),
    (True, "<think>Hm.</think>Yes.", "Hm.", "Yes."),
    (True, "Hm, <", "Hm, <", ""),
    (True, "cut off </thi", "cut off </thi", ""),
    (False, "Yes. <think> no </think>", "", "Yes. <think> no </think>"),
    (False, "<thin", "", "<thin"),
    (False, "<think>\n\n</think>\n\nYes.", "", "Yes."),
    (False, "", "", ""),
]


@pytest.mark.parametrize(("inside", "text", "reasoning", "content"), TAGS)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_think_tags(inside: bool, text: str, reasoning: str, content: str, size: int) -> None:
    answer = read(ThinkTagParser(inside), text, size)
    assert (answer.reasoning, answer.content) == (reasoning, content)


HARMONY = (
    "<|channel|>analysis<|message|>Two calls?<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|><|start|>assistant'
    "<|channel|>final<|message|>It is 3.<|return|>"
)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_channels(size: int) -> None:
    answer = read(ChannelParser(calls=True), HARMONY, size)
    assert (answer.reasoning, answer.content) == ("Two calls?", "It is 3.")
    [call] = answer.calls
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 1})


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("plain text", "", "plain text"),
        ("<|channel|>analysis<|message|>cut o", "cut o", ""),
        ("<|channel|>final<|message|>a<|b", "", "a<|b"),
        ("<|channel|>analysis<|message|>x<|channel|>final<|message|>y", "x", "y"),
    ],
)
def test_channels_that_are_not_as_they_should_be(text: str, reasoning: str, content: str) -> None:
    answer = read(ChannelParser(calls=False), text, 3)
    assert (answer.reasoning, answer.content) == (reasoning, content)


@given(thought=st.text(), said=st.text(), size=st.integers(1, 9))
def test_no_text_is_lost_between_tags(thought: str, said: str, size: int) -> None:
    if "<" in thought:
        return
    answer = read(ThinkTagParser(inside=True), f"{thought}</think>{said}", size)
    assert answer.reasoning.strip() == thought.strip()
    assert answer.content == said.lstrip("\n")


def test_reasoning_may_be_told_in_one_piece() -> None:
    parser = AnswerParser(ThinkTagParser(inside=True), None, stream_reasoning=False)
    pieces = [piece for char in "a b c</think>d" for piece in parser.feed(char)]
    assert [piece.text for piece in pieces if not isinstance(piece, CallStart)] == ["a b c", "d"]
    cut = AnswerParser(ThinkTagParser(inside=True), None, stream_reasoning=False)
    assert cut.feed("a b") == []
    assert read(cut, "", 1).reasoning == "a b"


def test_the_prompt_tells_whether_a_model_reasons() -> None:
    qwen, deepseek = REASONING_FORMATS["qwen3"], REASONING_FORMATS["deepseek-r1"]
    closed = "<assistant><think>\n\n</think>\n\n"
    assert not qwen.is_on(closed) and qwen.is_on("<assistant>")
    assert read(qwen.parser(closed, False, False), "Hi", 1).content == "Hi"
    assert read(qwen.parser("<assistant>", False, False), "Hi", 1).content == "Hi"
    assert read(qwen.parser("<assistant><think>\n", False, False), "Hi", 1).reasoning == "Hi"
    assert read(deepseek.parser("<assistant>", False, False), "Hi", 1).reasoning == "Hi"
    assert read(qwen.parser("<assistant>", False, True), "Hi", 1).reasoning == "Hi"


def test_a_template_shows_how_its_model_reasons() -> None:
    assert guess_reasoning("{{ content.split('</think>') }}") is REASONING_FORMATS["qwen3"]
    assert guess_reasoning("<|channel|>analysis<|message|>") is REASONING_FORMATS["gpt-oss"]
    assert guess_reasoning("{{ messages }}") is None and guess_reasoning(None) is None
