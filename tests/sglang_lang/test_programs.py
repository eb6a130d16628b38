"""Programs on a scripted backend: what they send, what their variables hold, how they fail."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

import sglang_lang as sgl
from sglang_lang.backends.base import Completion, Prompt
from sglang_lang.backends.native import sampling_params
from sglang_lang.background import background_loop
from sglang_lang.executor import StreamExecutor
from sglang_lang.ir import GenOptions

from .scripted import ScriptedBackend


def test_text_and_gen_build_the_prompt_and_the_variable() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, question: str) -> str:
        s += "Q: " + question + "\nA:"
        s += sgl.gen("reply", stop="\n", max_tokens=7)
        s += "."
        return "returned"

    backend = ScriptedBackend()
    state = program.run("why?", backend=backend, temperature=0.3)
    assert state["reply"] == "answer"
    assert state.text() == "Q: why?\nA:answer."
    assert state.ret_value == "returned"
    assert backend.prompts[0].text == "Q: why?\nA:"
    options = backend.options[0]
    assert (options.max_tokens, options.temperature, options.stop) == (7, 0.3, "\n")
    assert "reply" in state and "other" not in state
    assert state.usage.calls == 1


def test_turns_are_rendered_by_the_backends_template() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.system("be brief")
        with s.user():
            s += "hi"
        s += sgl.assistant(sgl.gen("a") + "!" + sgl.gen("b"))
        s += sgl.user_begin() + "more" + sgl.user_end()

    backend = ScriptedBackend(lambda prompt: "yo")
    state = program.run(backend=backend)
    opened = "<system>be brief</system><user>hi</user><assistant>"
    assert [prompt.text for prompt in backend.prompts] == [opened, opened + "yo!"]
    assert all(prompt.is_chat and prompt.role == "assistant" for prompt in backend.prompts)
    assert state.messages()[-2:] == [
        {"role": "assistant", "content": "yo!yo"},
        {"role": "user", "content": "more"},
    ]
    assert state.text() == opened + "yo!yo</assistant><user>more</user>"


def test_plain_text_after_turns_stays_after_them() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "before "
        s += sgl.user("u")
        s += " between "
        s += sgl.user("v")

    assert program.run(backend=ScriptedBackend()).text() == (
        "before <user>u</user> between <user>v</user>"
    )


def test_select_takes_the_likeliest_and_gen_choices_is_select() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "pick " + sgl.select("x", ["red", "blue"])
        s += sgl.gen("y", choices=["red", "blue"])

    state = program.run(backend=ScriptedBackend(lambda prompt: "blue"))
    assert (state["x"], state["y"], state.text()) == ("blue", "blue", "pick blueblue")
    assert state.get_meta_info("x")["normalized_prompt_logprobs"] == [-1.0, 0.0]


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


def test_var_scope_and_set_var_and_n() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        with s.var_scope("both"):
            s += "one "
            s += sgl.gen("many", n=3)
        s["mine"] = 5

    state = program.run(backend=ScriptedBackend())
    assert state["both"] == "one answer"
    assert state["many"] == ["answer"] * 3
    assert state["mine"] == 5
    assert len(state.get_meta_info("many")) == 3


def test_dtype_gives_values_of_that_type() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen_int("i") + sgl.gen("f", dtype=float) + sgl.gen("b", dtype=bool)
        s += s["i"]  # a string in SGLang, where programs add it

    answers = iter(["42 ", "2.5", "True"])
    backend = ScriptedBackend(lambda prompt: next(answers))
    state = program.run(backend=backend)
    assert (state["i"], state["f"], state["b"]) == (42, 2.5, True)
    assert state.text() == "42 2.5True42"
    assert backend.options[0].stop == [" ", "\n"]


def test_json_schema_from_a_dataclass_and_get_object() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: int

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("point", json_schema=Point)

    backend = ScriptedBackend(lambda prompt: '{"x": 1, "y": 2}')
    state = program.run(backend=backend)
    schema = json.loads(backend.options[0].json_schema or "")
    assert schema["required"] == ["x", "y"]
    assert schema["additionalProperties"] is False  # or a model adds fields for ever
    assert state.get_object("point") == {"x": 1, "y": 2}
    assert state.get_object("point", Point) == Point(1, 2)


# --------------------------------------------------------------------------- failing


def test_a_failed_request_raises_with_the_programs_line() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "x"
        s += sgl.gen("y")

    with pytest.raises(sgl.ProgramError, match=r"the script says so(.|\n)*test_programs\.py"):
        program.run(backend=ScriptedBackend(lambda prompt: "FAIL"))


def test_an_exception_of_the_program_is_its_own() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        program.run(backend=ScriptedBackend())


def test_an_unknown_variable_is_named_with_those_there_are() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("there")
        s["missing"]

    told = r"'missing'; it has: there\n  in program \(.*test_programs\.py:\d+\)"
    with pytest.raises(sgl.UnknownVariableError, match=told):
        program.run(backend=ScriptedBackend())


def test_no_reader_blocks_after_the_program_died() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("first") + sgl.gen("second")

    backend = ScriptedBackend(lambda prompt: "FAIL")
    state = program.run(backend=backend, stream=True)
    for read in (
        lambda: state["second"],
        lambda: list(state.text_iter()),
        lambda: list(state.text_iter("second")),
        state.text,
        state.sync,
    ):
        with pytest.raises(sgl.ProgramError):
            read()
    assert state.error() is not None


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


# --------------------------------------------------------------------------- batches and streams


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
    assert "500/500" in capsys.readouterr().err


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


def test_a_name_that_is_generated_twice_has_the_last_value() -> None:
    release = threading.Event()
    answers = iter(["first", "second"])

    def answer(prompt: Any) -> str:
        release.wait(10)
        return next(answers)

    @sgl.function
    def program(s: sgl.ProgramState) -> str:
        s += sgl.gen("x")
        with ThreadPoolExecutor(1) as pool:
            read = pool.submit(s.get_var, "x")  # of the first
            wait([read], timeout=0.05)
            s += sgl.gen("x")
            release.set()
            return str(read.result(10))

    state = program.run(backend=ScriptedBackend(answer))
    assert (state.ret_value, state["x"]) == ("first", "second")


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


async def test_cancelling_a_batch_aborts_the_requests_of_all_its_programs() -> None:
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


# --------------------------------------------------------------------------- functions and tracing


def test_bind_keeps_the_speculation_setting() -> None:
    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState, a: str, b: str) -> None:
        s += a + b

    bound = program.bind(b="2")
    assert bound.num_api_spec_tokens == 64
    assert bound.run("1", backend=ScriptedBackend()).text() == "12"
    with pytest.raises(TypeError, match="'c'"):
        program.bind(c=1)


def test_the_first_parameter_must_be_s() -> None:
    with pytest.raises(TypeError, match="must be named s"):

        @sgl.function
        def program(state: Any) -> None: ...


def test_mistakes_in_gen_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="not valid"):
        sgl.gen("x", regex="(")
    with pytest.raises(ValueError, match="one constraint"):
        sgl.gen("x", regex="a", json_schema="{}")
    with pytest.raises(ValueError, match="non-empty strings"):
        sgl.select("x", [])
    with pytest.raises(ValueError, match="None was added"):

        @sgl.function
        def program(s: sgl.ProgramState) -> None:
            s += None  # type: ignore[arg-type]

        program.run(backend=ScriptedBackend())


def test_run_takes_what_gen_takes_and_gens_own_constraint_wins() -> None:
    @dataclasses.dataclass
    class Point:
        x: int

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("a") + sgl.gen("b", regex="[0-9]+")

    backend = ScriptedBackend(lambda prompt: "7")
    state = program.run(backend=backend, dtype="int", stop=".")
    assert (state["a"], state["b"]) == (7, "7")
    whole, own = backend.options
    assert (whole.dtype, whole.stop, own.dtype, own.regex) == (
        int,
        [".", " ", "\n"],
        None,
        "[0-9]+",
    )
    program.run(backend=backend, json_schema=Point)
    assert json.loads(backend.options[2].json_schema or "")["required"] == ["x"]
    assert (backend.options[3].json_schema, backend.options[3].regex) == (None, "[0-9]+")
    with pytest.raises(ValueError, match="not valid"):
        program.run(backend=backend, regex="(")


def test_a_backend_that_sees_nothing_says_so_where_it_is_shown_something() -> None:
    for shown in (sgl.image("a.png"), sgl.video("a.mp4", 3)):

        @sgl.function
        def program(s: sgl.ProgramState, shown: Any) -> None:
            s += "Look: "
            s += shown
            s += sgl.select("x", ["a", "b"])

        kind = shown.kind
        told = rf"scripted reads text only and cannot be shown this {kind}\n  in program"
        with pytest.raises(sgl.ProgramError, match=told):
            program.run(shown, backend=ScriptedBackend())


def test_programs_without_a_backend_say_what_to_do() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "x"

    with pytest.raises(RuntimeError, match="set_default_backend"):
        program.run()
    sgl.set_default_backend(ScriptedBackend())
    try:
        assert program().text() == "x"
    finally:
        sgl.set_default_backend(None)


def test_settings_have_sglangs_names(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {
        "verbosity": 2,
        "skip_special_tokens_in_output": False,
        "spaces_between_special_tokens_in_out": False,
        "enable_parallel_encoding": False,
    }
    assert sampling_params(Prompt(""), GenOptions()) == {}
    for name, value in settings.items():
        monkeypatch.setattr(sgl.global_config, name, value)
    params = sampling_params(Prompt(""), GenOptions())
    assert params == {"skip_special_tokens": False, "spaces_between_special_tokens": False}

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "said " + sgl.gen("x")

    with caplog.at_level("INFO"):
        program.run(backend=ScriptedBackend())
    assert caplog.messages == ["program: said answer"]


def test_all_programs_share_one_background_loop() -> None:
    assert background_loop() is background_loop()


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


def test_nothing_is_promised_once_a_program_has_failed() -> None:
    executor = StreamExecutor(ScriptedBackend(), GenOptions())
    executor.fail(sgl.ProgramError("gone"))
    with pytest.raises(sgl.ProgramError, match="gone"):
        executor.submit(sgl.gen("late"))
    assert "late" not in executor.variables
    with pytest.raises(sgl.ProgramError, match="gone"):
        executor.mark().result(timeout=10)
    executor.cancel()


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
