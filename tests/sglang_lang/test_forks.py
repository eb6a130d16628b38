"""Forks and joins on a scripted backend."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import sglang_lang as sgl
from sglang_lang.backends.base import Prompt
from sglang_lang.background import background_loop

from .scripted import ScriptedBackend


def test_forks_go_on_from_the_parent_and_join_gathers_lists() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "root "
        forks = s.fork(3)
        forks += lambda i: f"branch{i} "
        forks += sgl.gen("leaf")
        forks.join()
        s += "done"

    backend = ScriptedBackend(lambda prompt: prompt.text.split()[-1])
    state = program.run(backend=backend)
    assert state["leaf"] == ["branch0", "branch1", "branch2"]
    assert state.text() == "root done"
    assert state.usage.calls == 3


def test_join_gathers_a_name_that_was_gathered_before() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s["kept"] = "as it was"
        for word in ("one", "two"):
            forks = s.fork(2)
            forks += word + " " + sgl.gen("x")
            forks.join()

    state = program.run(backend=ScriptedBackend(lambda prompt: prompt.text.strip()))
    assert state["x"] == ["two", "two"]
    assert state["kept"] == "as it was"


def test_join_can_append_the_childrens_texts() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "root:"
        forks = s.fork(2)
        forks += ["a=", "b="]
        forks += sgl.gen("x")
        forks.join("concate_and_append")

    assert program.run(backend=ScriptedBackend()).text() == "root:a=answerb=answer"


def test_forks_are_some_and_are_joined_once() -> None:
    @sgl.function
    def twice(s: sgl.ProgramState) -> None:
        forks = s.fork(2)
        forks.join()
        forks.join()

    with pytest.raises(sgl.ProgramError, match="joined already\n  in twice"):
        twice.run(backend=ScriptedBackend())

    @sgl.function
    def none(s: sgl.ProgramState) -> None:
        s.fork(0)

    with pytest.raises(ValueError, match="at least 1, got 0"):
        none.run(backend=ScriptedBackend())


def test_a_copy_does_not_change_the_original() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "shared "
        with s.copy() as c:
            c += "only in the copy " + sgl.gen("x")
        s += "end"

    state = program.run(backend=ScriptedBackend())
    assert state.text() == "shared end"
    assert state["x"] == ["answer"]


def test_a_fork_is_added_to_by_its_index() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        forks = s.fork(2)
        for i in range(2):
            forks[i] += f"fork {i}: "
            forks[i] += sgl.gen("x")
        with pytest.raises(TypeError, match="only added to"):
            forks[1] = forks[0]
        s["texts"] = [fork.text() for fork in forks]
        forks.join()

    state = program.run(backend=ScriptedBackend())
    assert state["texts"] == ["fork 0: answer", "fork 1: answer"]
    assert state["x"] == ["answer", "answer"]


def test_independent_gens_of_forks_run_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=10)

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "x"
        forks = s.fork(2)
        forks += sgl.gen("y")
        forks.join()

    class Meeting(ScriptedBackend):
        async def generate(self, prompt: Any, options: Any) -> Any:
            await asyncio.get_running_loop().run_in_executor(None, barrier.wait)
            return await super().generate(prompt, options)

    assert program.run(backend=Meeting())["y"] == ["answer", "answer"]


def test_usage_counts_forks_that_are_not_joined() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        outer = s.fork(2)
        outer += sgl.gen("x")
        inner = outer[0].fork(2)
        inner += sgl.gen("y")
        outer[1].fork(1)[0].stream_executor.submit(sgl.gen("z"))
        s.fork(1).join()

    assert program.run(backend=ScriptedBackend()).usage.calls == 5


async def test_async_programs_fork_and_join_beside_one_another() -> None:
    """All of them wait at once: none blocks the event loop of the others."""

    @sgl.function
    async def program(s: sgl.ProgramState, word: str) -> str:
        s += word + sgl.gen("x")
        forks = await s.afork(2)
        forks += lambda i: f" {i}" + sgl.gen("y")
        await forks.ajoin()
        more = await s.afork(2)
        more += ["<", ">"]
        await more.ajoin("concate_and_append")
        return await s.atext()

    backend = ScriptedBackend()
    backend.hold = asyncio.Event()

    async def release() -> None:
        while len(backend.prompts) < 3:
            await asyncio.sleep(0.01)
        background_loop().call_soon_threadsafe(backend.hold.set)  # type: ignore[union-attr]

    runs = [program.arun(word, backend=backend) for word in "abc"]
    releasing = asyncio.ensure_future(release())
    states = await asyncio.gather(*runs)
    await releasing
    assert [state.ret_value for state in states] == [f"{word}answer<>" for word in "abc"]
    assert [state["y"] for state in states] == [["answer"] * 2] * 3
    assert [state.usage.calls for state in states] == [3] * 3


@sgl.function
def three_ways(s: sgl.ProgramState, mode: str, on_error: str) -> None:
    s += "root"
    forks = s.fork(3)
    forks += [" a", " bad", " c"]
    forks += sgl.gen("x")
    forks.join(mode, on_error=on_error)
    s += " end" + sgl.gen("last")


def one_fork_fails(prompt: Prompt) -> str:
    return "FAIL" if prompt.text.endswith("bad") else "fine"


def test_join_raises_or_collects_what_forks_fail_with() -> None:
    backend = ScriptedBackend(one_fork_fails)
    with pytest.raises(sgl.ProgramError, match="the script says so"):
        three_ways.run("gather_variable", "raise", backend=backend)
    state = three_ways.run("gather_variable", "return", backend=backend)
    first, failed, last = state["x"]
    assert (first, last, state["last"]) == ("fine", "fine", "fine")
    assert isinstance(failed, sgl.ProgramError) and "the script says so" in str(failed)
    appended = three_ways.run("concate_and_append", "return", backend=backend)
    assert appended.text() == "root afine cfine endfine"
    compiled = three_ways.compile().run("gather_variable", "return", backend=backend)
    assert compiled["x"][::2] == ["fine", "fine"] and compiled.text() == state.text()
    with pytest.raises(ValueError, match="on_error must be raise or return"):
        three_ways.run("gather_variable", "ignore", backend=backend)


async def test_an_async_join_collects_too() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        forks = await s.afork(2)
        forks += ["bad", "good"]
        forks += sgl.gen("x")
        await forks.ajoin(on_error="return")

    state = await program.arun(backend=ScriptedBackend(one_fork_fails))
    assert isinstance(state["x"][0], sgl.ProgramError) and state["x"][1] == "fine"


def test_forks_that_are_not_joined_end_with_the_program() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> Any:
        forks = s.fork(2)
        forks += sgl.gen("x")
        return forks

    forks = program.run(backend=ScriptedBackend()).ret_value
    assert [fork["x"] for fork in forks] == ["answer", "answer"]
    assert all(fork.stream_executor.ended for fork in forks)


def test_the_error_of_a_fork_that_is_not_joined_is_raised() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        forks = s.fork(2)
        forks += sgl.gen("x")

    with pytest.raises(sgl.ProgramError, match="the script says so"):
        program.run(backend=ScriptedBackend(lambda prompt: "FAIL"))


def test_a_program_that_dies_aborts_the_requests_of_its_forks() -> None:
    backend = ScriptedBackend()
    backend.hold = asyncio.Event()
    states: list[sgl.ProgramState] = []

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        states.extend(s.fork(2))
        for state in states:
            state += sgl.gen("x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        program.run(backend=backend)
    for state in states:
        with pytest.raises(sgl.ProgramError, match="cancelled"):
            state.get_var("x")
