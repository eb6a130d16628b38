"""Passes over graphs: waves, what is computed ahead, what forks share, what could be shared."""

from __future__ import annotations

import pytest

import sglang_lang as sgl
from sglang_lang.plan import ForkHint, fork_hints, waves

from .scripted import ScriptedBackend

RULES = "Answer in one word, and only with a word that a child of six years understands. "


class Counting(ScriptedBackend):
    async def count_tokens(self, text: str) -> int:
        return len(text.split())


def warmed_by_a_batch(program: sgl.SglFunction, count: int = 2) -> list[str]:
    backend = ScriptedBackend()
    program.run_batch([{"word": str(i)} for i in range(count)], backend=backend)
    return backend.warmed


def test_run_batch_computes_the_constant_text_ahead() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += RULES
        s += f"The word: {word}" + sgl.gen("x")

    assert warmed_by_a_batch(program) == [RULES + "The word: "]
    assert warmed_by_a_batch(program, count=1) == []


def test_run_batch_computes_the_constant_turns_ahead() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += sgl.system(RULES)
        with s.user():
            s += "The word: "
            s += word
        s += sgl.assistant(sgl.gen("x"))

    assert warmed_by_a_batch(program) == [f"<system>{RULES}</system><user>The word: "]


def test_nothing_is_computed_ahead_of_an_argument_that_is_looked_at() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        if word == "1":
            s += RULES
        s += RULES + sgl.gen("x")

    assert warmed_by_a_batch(program) == []


async def test_async_batches_are_computed_ahead_too() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState, word: str) -> None:
        s += RULES + word + sgl.gen("x")

    backend = ScriptedBackend()
    await program.arun_batch([{"word": "a"}, {"word": "b"}], backend=backend)
    assert backend.warmed == [RULES]


def test_waves_hold_what_needs_nothing_of_one_another() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        forks = s.fork(2)
        forks[0] += sgl.gen("a") + sgl.gen("b")
        forks[1] += sgl.gen("c")
        forks.join()
        s += forks[1]["c"] + sgl.gen("d")

    names = [[node.label for node in wave.generations] for wave in waves(program.trace())]
    assert names == [["a", "c"], ["b"], ["d"]]


def test_forks_are_hinted_where_nothing_has_computed_their_text() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += RULES
        s.fork(2)  # its text is new
        s.fork(2)  # and is computed now
        s += RULES + sgl.gen("x")
        s.fork(2)  # computed by the gen
        s += RULES
        s.fork(1)  # has nobody to share with

    hints = fork_hints(program.trace())
    assert hints == [ForkHint(1, 2, len(RULES))]


def test_a_compiled_fork_computes_its_text_once_and_first() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += RULES
        forks = s.fork(2)
        forks += sgl.gen("x")
        forks.join()

    backend = ScriptedBackend()
    program.compile().run(backend=backend)
    assert backend.warmed == [RULES]


@sgl.function
def late_rules(s: sgl.ProgramState, question: str) -> None:
    s += sgl.system("Be kind.")
    s += sgl.user("Q: " + question + "\n" + RULES)
    s += sgl.user("This turn has other text in front of it, whatever is moved.")
    s += sgl.assistant(sgl.gen("x"))


def test_text_behind_an_argument_is_suggested_with_its_tokens() -> None:
    (hoist,) = late_rules.suggest(Counting())
    assert (hoist.text, hoist.arguments) == (RULES, ("question",))
    assert (hoist.tokens, hoist.is_estimate) == (len(RULES.split()), False)
    assert "test_plan.py" in str(hoist) and "share 16 more tokens" in str(hoist)


def test_without_a_tokenizer_tokens_are_estimated() -> None:
    (hoist,) = late_rules.suggest()
    assert hoist.is_estimate and "about 20 more tokens" in str(hoist)


def test_a_suggestion_changes_nothing() -> None:
    backend = ScriptedBackend()
    late_rules.suggest(backend)
    state = late_rules.run("why?", backend=backend)
    assert state.messages()[1]["content"] == f"Q: why?\n{RULES}"


@pytest.mark.parametrize("text", ["\nA:", ""])
def test_wording_around_an_argument_is_not_suggested(text: str) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, question: str) -> None:
        s += RULES + question + text + sgl.gen("x") + RULES

    assert program.suggest() == []
