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
from sglang_lang.backends.base import Prompt
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


def test_a_collected_exception_of_the_program_names_its_line() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "a"
        json.loads("{")

    line = program.func.__code__.co_firstlineno + 3
    for state in (
        *program.run_batch([{}], on_error="return", backend=ScriptedBackend()),
        program.run(stream=True, backend=ScriptedBackend()),
    ):
        told = str(state.error())
        assert told.startswith("JSONDecodeError") and f"test_programs.py:{line})" in told


def test_what_is_no_backend_is_named() -> None:
    url: Any = "http://127.0.0.1:30000"
    for give in (program_of_one.run, sgl.set_default_backend):
        with pytest.raises(TypeError, match="a backend is one of .* not str: 'http"):
            give(backend=url)


@sgl.function
def program_of_one(s: sgl.ProgramState) -> None:
    s += "said " + sgl.gen("x")


def test_a_state_shows_its_text_without_waiting() -> None:
    backend = ScriptedBackend()
    assert repr(program_of_one.run(backend=backend)) == "ProgramState('said answer')"
    backend.hold = asyncio.Event()
    waiting = program_of_one.run(backend=backend, stream=True)
    assert repr(waiting).startswith("ProgramState('")
    waiting.cancel()


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
    with pytest.raises(ValueError, match="non-empty strings"):
        sgl.select("x", "abc")
    with pytest.raises(ValueError, match="non-empty strings"):
        sgl.gen("x", choices=[])
    with pytest.raises(ValueError, match="model_type must be one of"):
        sgl.separate_reasoning(sgl.gen("x"), model_type="nobody")
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


def test_a_choices_method_that_waits_for_its_own_program_is_told_so() -> None:
    """It runs on the loop that would have to go on for that."""
    states: list[sgl.ProgramState] = []

    class Waits(sgl.ChoicesSamplingMethod):
        def __call__(self, **_: Any) -> sgl.ChoicesDecision:
            return sgl.ChoicesDecision(states[0]["x"])

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        states.append(s)
        s += sgl.select("x", ["a"], choices_method=Waits())

    with pytest.raises(sgl.ProgramError, match="cannot wait"):
        program.run(backend=ScriptedBackend())


def test_nothing_is_promised_once_a_program_has_failed() -> None:
    executor = StreamExecutor(ScriptedBackend(), GenOptions())
    executor.fail(sgl.ProgramError("gone"))
    with pytest.raises(sgl.ProgramError, match="gone"):
        executor.submit(sgl.gen("late"))
    assert "late" not in executor.variables
    with pytest.raises(sgl.ProgramError, match="gone"):
        executor.mark().result(timeout=10)
    executor.cancel()
