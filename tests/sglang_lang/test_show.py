"""The coloured text of a run: every character once, and each under what wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sglang_lang as sgl
from sglang_lang.backends.base import Completion, Prompt
from sglang_lang.background import wait_for
from sglang_lang.ir import GenOptions, SglExpr, SglRoleBegin, SglRoleEnd
from sglang_lang.origins import Call, SglWritten, Span, spans
from sglang_lang.show import program_spans

from .scripted import ScriptedBackend


class CachingBackend(ScriptedBackend):
    """Tokens are letters; ten of a prompt are cached, and the first of a reply is forced."""

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        answers = await super().generate(prompt, options)
        for answer in answers:
            answer.meta_info |= {"cached_tokens": 10, "forced_spans": [[0, 1]]}
        return answers

    async def length_of_tokens(self, text: str, count: int, add_special_tokens: bool) -> int:
        return min(count, len(text))


def spans_of(state: sgl.ProgramState) -> list[Span]:
    executor = state.stream_executor
    return wait_for(program_spans(executor.transcript, executor.backend))


def plain(parts: Sequence[Span]) -> list[tuple[str, str, bool]]:
    return [(part.text, part.origin, part.is_cached) for part in parts]


@sgl.function
def pets(s: sgl.ProgramState) -> None:
    s += "A pet & its sound: " + sgl.gen("pet")
    s += ", " + sgl.select("sound", ["answer", "moo"])


def test_each_part_has_its_origin() -> None:
    state = pets.run(backend=CachingBackend())
    assert plain(spans_of(state)) == [
        ("A pet & it", "constant", True),
        ("s sound: ", "constant", False),
        ("a", "forced", False),
        ("nswer", "generated", False),
        (", ", "constant", False),
        ("answer", "selected", False),
    ]


@sgl.function
def chat(s: sgl.ProgramState) -> None:
    s += sgl.user("ask") + sgl.assistant("So: " + sgl.gen("reply"))
    s += sgl.user("ask") + sgl.assistant(sgl.gen("reply"))


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_template_adds_is_told_from_what_the_turns_say(stream: bool) -> None:
    state = chat.run(backend=ScriptedBackend(), stream=stream)
    text = "".join(state.text_iter())
    parts = spans_of(state)
    assert "".join(part.text for part in parts) == text
    assert plain(parts)[:6] == [
        ("<user>", "template", False),
        ("ask", "constant", False),
        ("</user><assistant>", "template", False),
        ("So: ", "constant", False),
        ("answer", "generated", False),
        ("</assistant><user>", "template", False),
    ]


def test_a_joined_fork_keeps_what_was_generated() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Two: "
        forks = s.fork(2)
        forks += sgl.gen("x")
        forks.join("concate_and_append")

    parts = spans_of(program.run(backend=ScriptedBackend()))
    assert [part.origin for part in parts] == ["constant", "generated", "generated"]


def test_the_html_of_a_text_shows_the_text() -> None:
    state = pets.run(backend=CachingBackend(lambda prompt: "<b>answer</b>"))
    html = state._repr_html_()
    shown = html[: html.index('<div style="margin-top')]
    assert unescape(re.sub("<[^>]*>", "", shown)) == state.text()
    assert "<b>" not in html


def test_show_prints_colours_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    pets.run(backend=CachingBackend()).show()
    out = capsys.readouterr().out
    assert "\x1b[33ma\x1b[0m\x1b[32mnswer\x1b[0m" in out
    assert "2 calls, 6 tokens generated (0 forced), 10 of 19 prompt tokens cached" in out


def test_a_failed_program_shows_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    state = pets.run_batch([{}], backend=ScriptedBackend(lambda _: "FAIL"), on_error="return")[0]
    state.show()
    assert "A pet & its sound: " in capsys.readouterr().out


TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", ""]), st.lists(st.text("ab <>\n", max_size=4)))
)


@given(TURNS, st.booleans(), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))))
def test_the_parts_joined_are_the_text(
    turns: list[tuple[str, list[str]]], strips: bool, cached: list[tuple[int, int]]
) -> None:
    history: list[SglExpr] = []
    text = ""
    for role, said in turns:
        call = Call("generated", "x", 0)
        written = [SglWritten(part, call if i % 2 else None) for i, part in enumerate(said)]
        turn: list[SglExpr] = [*written]
        history += [SglRoleBegin(role), *turn, SglRoleEnd(role)] if role else turn
        content = "".join(said)
        text += f"<{role}>{content.strip() if strips else content}</{role}>" if role else content
    parts = spans(text, history, [range(*area) for area in cached])
    assert "".join(part.text for part in parts) == text
    assert all(part.text for part in parts)
