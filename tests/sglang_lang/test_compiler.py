"""Compiled programs: the interpreter's results, with independent generations in one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sglang_lang as sgl
from sglang_lang.backends.base import Prompt, Request
from sglang_lang.backends.native import NativeBackend
from sglang_lang.ir import GenOptions

from .scripted import ScriptedBackend


def echo(prompt: Prompt) -> str:
    """An answer that depends on the whole prompt."""
    return f"[{sum(prompt.text.encode()) % 1000}]"


def both(program: sgl.SglFunction, *args: Any, **kwargs: Any) -> ScriptedBackend:
    """Runs the program both ways; they must agree. Gives the compiled run's backend."""
    plain, compiled = ScriptedBackend(echo), ScriptedBackend(echo)
    expected = program.run(*args, backend=plain, **kwargs)
    state = program.compile().run(*args, backend=compiled, **kwargs)
    assert state.text() == expected.text()
    assert state.variables == expected.variables
    assert state.messages() == expected.messages()
    assert state.ret_value == expected.ret_value
    assert state.usage == expected.usage
    assert sorted(p.text for p in compiled.prompts) == sorted(p.text for p in plain.prompts)
    return compiled


@sgl.function
def panel(s: sgl.ProgramState, topic: str) -> Any:
    s += sgl.system("You judge.")
    s += sgl.user(f"On {topic}:")
    forks = s.fork(3)
    forks += lambda i: sgl.assistant(f"Expert {i}: " + sgl.gen("view", max_tokens=5 + i))
    forks += sgl.user("Why?") + sgl.assistant(sgl.gen("reason"))
    forks.join()
    s += sgl.assistant("In short: " + forks[0]["view"] + forks[2]["reason"] + sgl.gen("end"))
    s["all"] = [s["end"], (s["view"], 1)]
    return {"end": s["end"]}


def test_independent_gens_go_out_in_one_call() -> None:
    assert both(panel, "tea").batches == [3, 3, 1]


def test_gens_of_nested_forks_wait_only_for_what_they_need() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "root " + sgl.gen("r")
        outer = s.fork(2)
        outer += lambda i: f" outer{i} "
        outer[0] += sgl.gen("o")
        for fork in outer:
            inner = fork.fork(2)
            inner += lambda i: f"inner{i} " + sgl.gen("x") + sgl.select("c", ["yes", "no"])
            inner.join()
            fork += sgl.gen("y", n=2)
        outer.join("concate_and_append")
        with s.copy() as c:
            c += sgl.gen("z")

    # after the root outer[0]'s gen runs beside the inner gens of outer[1]
    assert both(program).batches == [1, 3, 2, 1, 1, 1]


def test_scopes_reasoning_and_types_are_the_interpreters() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        with s.var_scope("all"):
            s += "a" + sgl.gen("x")
        s += sgl.user("q") + sgl.assistant(sgl.separate_reasoning(sgl.gen("think")))
        s += sgl.user(s["all"])
        if "x" in s:
            s += s["think_reasoning_content"]

    both(program)


def test_data_dependent_flow_falls_back_to_the_interpreter() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, word: str) -> None:
        forks = s.fork(2)
        forks += word + sgl.gen("x")
        forks.join()
        for _ in range(len(s["x"][0]) % 3 + 1):
            s += "more " + sgl.gen("y")

    assert not program.trace(word="w").is_complete
    for word in ("one", "two", "three"):
        assert both(program, word).batches == []


Part = tuple[str, list[Any]]  # what to add, and what to add in the branches it opens


def add_fork(s: Any, inside: list[Part], mode: str) -> None:
    forks = s.fork(2)
    for i, fork in enumerate(forks):
        fork += f"f{i} "
        add(fork, inside)
    forks.join(mode)


def add_copy(s: Any, inside: list[Part]) -> None:
    with s.copy() as c:
        add(c, inside)


def add_value(s: Any, name: str) -> None:
    if name in s:
        s += "<" + s[name]


ADD: dict[str, Any] = {
    "text": lambda s, inside: s.__iadd__("text "),
    "gen": lambda s, inside: s.__iadd__(sgl.gen("g")),
    "select": lambda s, inside: s.__iadd__(sgl.select("c", ["u", "v"])),
    "value": lambda s, inside: add_value(s, "c"),
    "set": lambda s, inside: s.set_var("mine", [1]),
    "copy": add_copy,
    "gather": lambda s, inside: add_fork(s, inside, "gather_variable"),
    "append": lambda s, inside: add_fork(s, inside, "concate_and_append"),
}
PARTS: st.SearchStrategy[list[Part]] = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.sampled_from(list(ADD)), inner), max_size=5),
    max_leaves=12,
)


def add(s: Any, parts: list[Part]) -> None:
    for kind, inside in parts:
        ADD[kind](s, inside)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PARTS)
def test_any_program_gives_the_same_both_ways(parts: list[Part]) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        add(s, parts)

    assert program.trace().is_complete
    try:
        both(program)
    except TypeError:  # a list that join has gathered is no text
        with pytest.raises(sgl.ProgramError, match="not list"):
            program.compile().run(backend=ScriptedBackend(echo))


# --------------------------------------------------------------------------- failing


@sgl.function
def failing(s: sgl.ProgramState) -> None:
    forks = s.fork(2)
    forks[0] += "fine " + sgl.gen("x")
    forks[1] += "bad " + sgl.gen("x")
    forks.join()


def test_a_failed_call_raises_with_the_programs_line() -> None:
    backend = ScriptedBackend(lambda p: "FAIL" if "bad" in p.text else "fine")
    with pytest.raises(sgl.ProgramError, match=r"the script says so(.|\n)*test_compiler\.py"):
        failing.compile().run(backend=backend)


def test_a_mistake_of_the_program_raises_with_its_line() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user_end()

    with pytest.raises(sgl.ProgramError, match=r"ends, but None is open\n.*test_compiler\.py"):
        program.compile().run(backend=ScriptedBackend())


def test_an_error_of_the_body_is_the_interpreters() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        program.compile().run(backend=ScriptedBackend())


# --------------------------------------------------------------------------- one native call


class Native(NativeBackend):
    """A runtime that answers with each prompt's length."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    @property
    def model_name(self) -> str:
        return "native"

    async def _generate(self, request: dict[str, Any]) -> Any:
        self.requests.append(request)
        await asyncio.sleep(0)
        if isinstance(request["text"], str):
            return {"text": str(len(request["text"])), "meta_info": {}}
        pairs = zip(request["text"], request["sampling_params"], strict=True)
        return [
            {"text": f"{len(text)}/{i}", "meta_info": {}}
            for text, params in pairs
            for i in range(params["n"])
        ]

    def _stream(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        raise NotImplementedError

    async def _score_choices(self, request: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    async def _render(self, request: dict[str, Any]) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in request["messages"])


def test_a_runtime_gets_a_list_of_texts_with_their_own_parameters() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        forks = s.fork(3)
        forks += lambda i: "x" * (i + 1) + sgl.gen("y", temperature=i / 2, n=i + 1)
        forks.join()

    backend = Native()
    state = program.compile().run(backend=backend)
    assert state["y"] == ["1/0", ["2/0", "2/1"], ["3/0", "3/1", "3/2"]]
    (request,) = backend.requests
    assert request["text"] == ["x", "xx", "xxx"]
    assert [params["temperature"] for params in request["sampling_params"]] == [0.0, 0.5, 1.0]


async def test_requests_that_differ_in_what_a_call_says_once_are_calls_apart() -> None:
    backend = Native()
    plain, scored = GenOptions(n=1), GenOptions(n=1, return_logprob=True)
    requests = [Request(Prompt("a" * i), scored if i % 2 else plain) for i in range(1, 6)]
    answers = await backend.generate_batch([*requests, Request(Prompt("c", is_chat=True), plain)])
    assert sorted(len(request["text"]) for request in backend.requests) == [1, 2, 3]
    assert [answer[0].text.split("/")[0] for answer in answers] == ["1", "2", "3", "4", "5", "1"]
