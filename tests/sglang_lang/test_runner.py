"""Batches, streams and async programs on a scripted backend."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

import sglang_lang as sgl
from sglang_lang import runner
from sglang_lang.backends.base import Completion, Prompt
from sglang_lang.background import background_loop
from sglang_lang.executor import StreamExecutor
from sglang_lang.ir import GenOptions
from sglang_lang.runner import new_state

from .scripted import ScriptedBackend


def test_run_batch_keeps_the_order_and_can_be_a_generator(capsys: Any) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, i: int) -> None:
        s += f"{i} " + sgl.gen("x")

    backend = ScriptedBackend(lambda prompt: prompt.text)
    items = [{"i": i} for i in range(500)]
    states = program.run_batch(
        items, backend=backend, generator_style=True, progress_bar=True, num_threads=8
    )
    assert [state["x"] for state in states] == [f"{i} " for i in range(500)]
    bar = capsys.readouterr().err.rsplit("\r", 1)[-1]
    assert re.search(r"500/500  [\d.]+ items/s  \d+ tokens/s  cache hit 0 %", bar)


def test_run_batch_raises_or_returns_errors() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += word + sgl.gen("x")

    backend = ScriptedBackend(lambda prompt: "FAIL" if "bad" in prompt.text else "fine")
    items: list[dict[str, str] | tuple[str, ...]] = [{"word": "good"}, {"word": "bad"}, ("good",)]
    states = program.run_batch(items, backend=backend, on_error="return")
    assert [state.error() is None for state in states] == [True, False, True]
    assert states[2]["x"] == "fine"
    with pytest.raises(sgl.ProgramError):
        program.run_batch(items, backend=backend)
    with pytest.raises(TypeError, match="word"):
        program.run_batch([("too", "many")], backend=backend)


def test_an_error_of_a_batch_ends_its_other_runs() -> None:
    """They would wait for ever: nobody lets the backend go on."""

    class HeldUnlessBad(ScriptedBackend):
        async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
            self.hold = None if prompt.text == "bad" else asyncio.Event()
            return await super().generate(prompt, options)

    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += word + sgl.gen("x")

    backend = HeldUnlessBad(lambda prompt: "FAIL")
    with pytest.raises(sgl.ProgramError, match="the script says so"):
        program.run_batch([("bad",), ("a",), ("b",)], backend=backend, num_threads=3)


def test_a_run_that_begins_while_a_batch_is_being_ended_ends_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FailsOnceTwoWait(ScriptedBackend):
        def __init__(self) -> None:
            super().__init__()
            self.arrived = 0
            self.both_wait = asyncio.Event()

        async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
            self.arrived += 1
            if self.arrived == 1:
                await self.both_wait.wait()
                raise sgl.BackendError("no")
            self.both_wait.set()
            await asyncio.Event().wait()
            raise AssertionError

    made = itertools.count(1)
    are_ended = threading.Event()
    cancel = StreamExecutor.cancel

    def late(*args: Any, **kwargs: Any) -> sgl.ProgramState:
        if next(made) == 3:
            assert are_ended.wait(30)
        return new_state(*args, **kwargs)

    def told(executor: StreamExecutor) -> None:
        cancel(executor)
        if threading.current_thread() is threading.main_thread():
            are_ended.set()

    monkeypatch.setattr(runner, "new_state", late)
    monkeypatch.setattr(StreamExecutor, "cancel", told)

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("x")

    with pytest.raises(sgl.ProgramError, match="no"):
        program.run_batch([{}, {}, {}], backend=FailsOnceTwoWait(), num_threads=3)


def test_a_batch_whose_beginning_cannot_be_computed_ahead_fails_item_by_item() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += "A beginning that is long enough to be worth a request of its own, it seems: "
        s += word + sgl.gen("x")

    class Down(ScriptedBackend):
        async def warm(self, prompt: Prompt) -> None:
            raise sgl.BackendError("down")

    backend = Down(lambda prompt: "FAIL")
    states = program.run_batch([("a",), ("b",)], backend=backend, on_error="return")
    assert all("the script says so" in str(state.error()) for state in states)


def test_a_stream_that_is_cancelled_aborts_its_request() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q: " + sgl.gen("x")

    backend = ScriptedBackend()
    backend.hold = asyncio.Event()
    state = program.run(backend=backend, stream=True)
    pieces = state.text_iter()
    assert next(pieces) == "Q: "
    state.cancel()
    with pytest.raises(sgl.ProgramError, match="cancelled"):
        list(pieces)
    while not backend.cancelled and backend.prompts:
        time.sleep(0.01)


async def test_async_batches_keep_the_order_and_collect_errors() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += word + sgl.gen("x")

    backend = ScriptedBackend(lambda prompt: "FAIL" if prompt.text == "bad" else prompt.text)
    items = [{"word": word} for word in ("a", "bad", "c")]
    states = await program.arun_batch(items, backend=backend, on_error="return", num_concurrent=2)
    assert [state.error() is None for state in states] == [True, False, True]
    assert (states[0]["x"], states[2]["x"]) == ("a", "c")
    with pytest.raises(sgl.ProgramError, match="the script says so"):
        await program.arun_batch(items, backend=backend)


def test_streams_give_the_text_and_one_variable_in_pieces() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q: "
        s += sgl.gen("first") + " | " + sgl.gen("second")

    answers = iter(["abc", "xyz"])
    state = program.run(backend=ScriptedBackend(lambda prompt: next(answers)), stream=True)
    assert "".join(state.text_iter("second")) == "xyz"
    pieces = list(state.text_iter())
    assert "".join(pieces) == "Q: abc | xyz"
    assert state["first"] == "abc"


def test_a_reader_of_a_stream_waits_for_a_variable_that_is_still_to_come() -> None:
    gate = threading.Event()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        gate.wait(10)
        s += sgl.gen("x")

    state = program.run(backend=ScriptedBackend(), stream=True)
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(state.get_var, "x"), pool.submit(state.get_var, "never")]
        done, _ = wait(reads, timeout=0.05)
        assert not done
        gate.set()
        assert reads[0].result(10) == "answer"
        with pytest.raises(sgl.UnknownVariableError, match="'never'; it has: x"):
            reads[1].result(10)


def test_a_chat_streams_the_text_that_it_has_in_the_end() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "plain "
        s += sgl.system("be brief")
        s += sgl.user("hi") + sgl.assistant("well, " + sgl.gen("a"))
        s += sgl.user("more")

    for use_thread in (True, False):
        backend = ScriptedBackend(lambda prompt: "abc")
        state = program.run(backend=backend, stream=True, use_thread=use_thread)
        assert "".join(state.text_iter()) == state.text()
    assert state.text() == (
        "plain <system>be brief</system><user>hi</user><assistant>well, abc</assistant>"
        "<user>more</user>"
    )


async def test_streams_can_be_followed_on_an_event_loop() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q: " + sgl.gen("first")

    state = program.run(backend=ScriptedBackend(lambda prompt: "abc"), stream=True)
    pieces = [piece async for piece in state.text_async_iter("first", return_meta_data=True)]
    assert "".join(text for text, _ in pieces) == "abc"
    assert pieces[-1][1]["completion_tokens"] == 3


async def test_no_async_reader_blocks_after_the_program_died() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("first")
        s["first"]
        s += sgl.gen("second")

    state = program.run(backend=ScriptedBackend(lambda prompt: "FAIL"), stream=True)
    for name in ("first", "second"):
        with pytest.raises(sgl.ProgramError, match="the script says so"):
            await state.aget(name)
    for var_name in (None, "second"):
        with pytest.raises(sgl.ProgramError, match="the script says so"):
            async for _ in state.text_async_iter(var_name):
                continue
    with pytest.raises(sgl.ProgramError, match="the script says so"):
        await state.atext()


async def test_async_programs_await_their_variables() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState, word: str) -> None:
        s += word + sgl.gen("x")
        s += " " + await s.aget("x")

    states = await asyncio.gather(
        *(program.arun(word, backend=ScriptedBackend()) for word in ("a", "b"))
    )
    assert [state.stream_executor.transcript.shown for state in states] == [
        "aanswer answer",
        "banswer answer",
    ]


def test_an_async_program_runs_like_any_other_and_may_read_as_one() -> None:
    """It has an event loop of its own, so that a read that blocks holds up no request."""

    @sgl.function
    async def program(s: sgl.ProgramState, word: str) -> str:
        s += word + sgl.gen("x")
        s += " " + s["x"] + await s.aget("x")
        return word

    backend = ScriptedBackend()
    state = program.run("a", backend=backend)
    assert (state.text(), state.ret_value) == ("aanswer answeranswer", "a")
    states = program.run_batch([("b",), ("c",)], backend=backend)
    assert [one.ret_value for one in states] == ["b", "c"]
    streamed = program.run("d", backend=backend, stream=True)
    assert "".join(streamed.text_iter("x")) == "answer"
    assert "".join(streamed.text_iter()) == "danswer answeranswer"


async def test_an_async_program_runs_beside_a_loop_that_is_running() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("x")
        s += await s.aget("x")

    assert program.run(backend=ScriptedBackend()).text() == "answeranswer"
    streamed = program.run(backend=ScriptedBackend(), stream=True)
    assert await streamed.aget("x") == "answer"


async def test_giving_up_on_a_variable_leaves_it_to_others() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("x")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(s.aget("x"), 0.01)
        background_loop().call_soon_threadsafe(backend.hold.set)  # type: ignore[union-attr]
        s["y"] = await s.aget("x")

    backend = ScriptedBackend()
    backend.hold = asyncio.Event()
    assert (await program.arun(backend=backend))["y"] == "answer"


async def test_cancelling_a_program_aborts_its_request() -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("x")
        await s.aget("x")

    backend = ScriptedBackend()
    backend.hold = asyncio.Event()
    task = asyncio.ensure_future(program.arun(backend=backend))
    while not backend.prompts:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(500):
        if backend.cancelled:
            break
        await asyncio.sleep(0.01)
    assert backend.cancelled == 1


async def test_cancelling_a_batch_aborts_the_requests_of_all_its_programs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        s += word + sgl.gen("x")

    backend = ScriptedBackend()
    backend.hold = asyncio.Event()
    items = [{"word": word} for word in "abc"]
    task = asyncio.ensure_future(program.arun_batch(items, backend=backend))
    while len(backend.prompts) < len(items):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while backend.cancelled < len(items):  # else the test runs into its time limit
        await asyncio.sleep(0.01)
    gc.collect()
    assert caplog.messages == []  # of exceptions that nobody has asked for
