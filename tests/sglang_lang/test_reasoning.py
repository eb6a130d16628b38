"""Thoughts and answers of reasoning models, whole and while they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sglang_lang as sgl
from sglang_lang.reasoning import marks_of, split_reasoning

from .openai_server import Reply, openai_server
from .scripted import ScriptedBackend


@sgl.function
def program(s: sgl.ProgramState, model_type: str | None) -> None:
    s += sgl.user("q")
    s += sgl.assistant("So: " + sgl.separate_reasoning(sgl.gen("reply"), model_type=model_type))


def test_the_thoughts_stay_out_of_the_text() -> None:
    state = program.run("qwen3", backend=ScriptedBackend(lambda p: "<think>hm</think>yes"))
    assert state["reply"] == "yes"
    assert state["reply_reasoning_content"] == "hm"
    assert state.messages()[-1]["content"] == "So: yes"


@pytest.mark.parametrize(
    ("text", "model_type"),
    [
        ("<think>hm, well</think>\n\nyes, < 3", "qwen3"),
        ("hm, well</think>yes", "deepseek-r1"),
        ("hm, well</think>yes", None),
        ("yes, <th", "qwen3"),
        ("◁think▷hm◁/think▷yes", "kimi"),
    ],
)
def test_streams_tell_the_answer_and_the_thoughts_apart(text: str, model_type: str | None) -> None:
    whole = program.run(model_type, backend=ScriptedBackend(lambda p: text))
    for name in ("reply", "reply_reasoning_content", None):
        state = program.run(model_type, backend=ScriptedBackend(lambda p: text), stream=True)
        expected = whole.text() if name is None else whole[name]
        assert "".join(state.text_iter(name)) == expected


def test_several_answers_each_have_their_thoughts() -> None:
    backend = ScriptedBackend(lambda p: "<think>hm</think>yes")
    state = program.run("qwen3", backend=backend, n=2)
    assert (state["reply"], state["reply_reasoning_content"]) == (["yes"] * 2, ["hm"] * 2)
    assert state.text().endswith("So: yes</assistant>")


def test_a_choice_has_no_thoughts() -> None:
    @sgl.function
    def choosing(s: sgl.ProgramState) -> None:
        s += sgl.separate_reasoning(sgl.select("x", ["a", "b"]) + "!")

    state = choosing.run(backend=ScriptedBackend(lambda p: "b"))
    assert (state.text(), state["x_reasoning_content"]) == ("b!", "")


def test_a_template_may_have_begun_the_thoughts() -> None:
    @sgl.function
    def begun(s: sgl.ProgramState) -> None:
        s += sgl.assistant("<think>\n" + sgl.separate_reasoning(sgl.gen("x"), model_type="qwen3"))

    state = begun.run(backend=ScriptedBackend(lambda p: "hm</think>yes"))
    assert (state["x"], state["x_reasoning_content"]) == ("yes", "hm")


@pytest.mark.parametrize("stream", [False, True])
def test_an_api_may_tell_the_thoughts_apart(stream: bool) -> None:
    with openai_server(lambda body: Reply("yes", reasoning="hm, well")) as server:
        backend = sgl.OpenAI("m", base_url=server.url, api_key="key")
        state = program.run(None, backend=backend, stream=stream)
        assert "".join(state.text_iter("reply")) == "yes"
        assert state["reply_reasoning_content"] == "hm, well"
        backend.shutdown()


TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "<", "/think", " ", "\n", "a", "b"])).map(
    "".join
)


@given(TEXTS, st.sampled_from(["qwen3", "deepseek-r1", None]))
def test_what_is_told_early_never_changes(text: str, model_type: str | None) -> None:
    marks = marks_of(model_type)
    whole = split_reasoning(text, marks)
    for length in range(len(text)):
        early = split_reasoning(text[:length], marks, is_whole=False)
        assert whole.thoughts.startswith(early.thoughts)
        assert whole.answer.startswith(early.answer)


def test_an_unknown_model_type_is_named() -> None:
    with pytest.raises(ValueError, match="model_type must be one of .*qwen3.*, got 'gpt-2'"):
        marks_of("gpt-2")
