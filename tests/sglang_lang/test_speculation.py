"""API speculative execution over real HTTP: fewer calls, and never another result."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sglang_lang as sgl
from sglang_lang.backends.openai_api import OpenAI

from .openai_server import Reply, Script, openai_server

FACTS = {
    "Name": "Ada Lovelace",
    "Born": "1815 in London",
    "Field": "mathematics",
    "Known": "notes on the Analytical Engine. A program",
    "Father": "Lord Byron",
    "Tutor": "Mary Somerville",
    "Died": "1852",
    "Age": "36",
}


def text_of(body: dict[str, Any]) -> str:
    if "prompt" in body:
        return str(body["prompt"])
    last = body["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""


class Biographer:
    """A model that goes on with what the last label asks for, then with labels in its order."""

    def __init__(self, order: Sequence[str] = tuple(FACTS)) -> None:
        self.order = list(order)

    def __call__(self, body: dict[str, Any]) -> str:
        lines = text_of(body).rsplit("\n", 1)[-1]
        label, colon, begun = lines.partition(":")
        if not colon or label not in FACTS:
            return "\n".join(f"{one}: {FACTS[one]}" for one in self.order)
        rest = self.order[self.order.index(label) + 1 :] if label in self.order else []
        value = f" {FACTS[label]}"
        value = value[len(begun) :] if value.startswith(begun) else " and so on"
        return "\n".join([value, *(f"{one}: {FACTS[one]}" for one in rest)])


def fill(s: sgl.ProgramState, labels: Sequence[str], **options: Any) -> None:
    for i, label in enumerate(labels):
        s += ("\n" if i else "") + f"{label}:" + sgl.gen(label, **{"stop": "\n", **options})


@sgl.function(num_api_spec_tokens=128)
def completion(s: sgl.ProgramState, labels: Sequence[str]) -> None:
    s += "Ada Lovelace's life, line by line, with every label once and no other text at all.\n"
    fill(s, labels)


@sgl.function(num_api_spec_tokens=128)
def conversation(s: sgl.ProgramState, labels: Sequence[str]) -> None:
    s += sgl.user(f"Describe Ada Lovelace, a line for each of {', '.join(labels)}.")
    with s.assistant():
        fill(s, labels)


def plainly(program: sgl.SglFunction) -> sgl.SglFunction:
    return sgl.SglFunction(program.func, None, program.bound)


@pytest.mark.parametrize("fields", [3, 8])
@pytest.mark.parametrize("program", [completion, conversation], ids=["completion", "chat"])
def test_one_call_in_place_of_one_for_each_field(program: sgl.SglFunction, fields: int) -> None:
    labels = list(FACTS)[:fields]
    is_chat = program is conversation
    with openai_server(Biographer()) as server:
        backend = OpenAI("m", is_chat, base_url=server.url, api_key="key")
        ahead = program.run(labels, backend=backend, temperature=0)
        assert len(server.requests) == 1
        plain = plainly(program).run(labels, backend=backend, temperature=0)
        assert len(server.requests) == 1 + fields
        backend.shutdown()
    assert ahead.text() == plain.text()
    assert ahead.variables == plain.variables == {one: f" {FACTS[one]}" for one in labels}
    assert (ahead.usage.calls, ahead.usage.saved_calls) == (1, fields - 1)
    assert (plain.usage.calls, plain.usage.saved_calls) == (fields, 0)
    assert plain.usage.prompt_tokens >= 2.8 * ahead.usage.prompt_tokens


@pytest.mark.parametrize("program", [completion, conversation], ids=["completion", "chat"])
def test_a_mismatch_falls_back_to_plain_calls(program: sgl.SglFunction) -> None:
    labels = ["Name", "Field", "Died", "Age"]  # the model writes Born after Name
    with openai_server(Biographer()) as server:
        backend = OpenAI("m", program is conversation, base_url=server.url, api_key="key")
        ahead = program.run(labels, backend=backend, temperature=0)
        plain = plainly(program).run(labels, backend=backend, temperature=0)
        backend.shutdown()
    assert ahead.variables == plain.variables
    assert ahead.usage.calls == 4
    assert [request.get("stop") for request in server.requests[:4]] == [None, *[["\n"]] * 3]


def test_a_chat_that_begins_otherwise_is_asked_plainly() -> None:
    def answer(body: dict[str, Any]) -> str:
        return " Ada\n" if text_of(body) else "Sure! Name: Ada\n"

    with openai_server(answer) as server:
        backend = OpenAI("m", base_url=server.url, api_key="key")
        state = conversation.run(["Name"], backend=backend)
        backend.shutdown()
    assert state["Name"] == " Ada"
    assert (state.usage.calls, state.usage.saved_calls) == (2, 0)
    assert state.usage.completion_tokens > 4  # the answer that was of no use is counted


def test_max_tokens_are_tokens() -> None:
    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("long", stop="\n", max_tokens=1)
        s += "\nAge:" + sgl.gen("short", stop="\n", max_tokens=8)

    with openai_server(Biographer()) as server:
        backend = OpenAI("m", False, base_url=server.url, api_key="key")
        state = program.run(backend=backend)
        backend.shutdown()
    assert state.variables == {"long": " Ada", "short": " 36"}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data(), is_chat=st.booleans())
def test_the_result_is_that_of_plain_calls(data: st.DataObject, is_chat: bool) -> None:
    names = st.permutations(list(FACTS)).map(lambda order: order[:4])
    written, wanted = data.draw(names), data.draw(names)
    wanted = data.draw(st.sampled_from([wanted, written, [*written[:2], *wanted[2:]]]))
    options = {
        "stop": data.draw(st.sampled_from(["\n", ["\n", "."], " in", None])),
        "max_tokens": data.draw(st.sampled_from([1, 2, 9, 40])),
    }

    @sgl.function(num_api_spec_tokens=data.draw(st.sampled_from([5, 20, 60])))
    def program(s: sgl.ProgramState) -> None:
        if is_chat:
            s += sgl.user("?") + sgl.assistant_begin()
        fill(s, wanted, **options)

    with openai_server(Biographer(written)) as server:
        backend = OpenAI("m", is_chat, base_url=server.url, api_key="key")
        ahead = program.run(backend=backend, temperature=0)
        plain = plainly(program).run(backend=backend, temperature=0)
        backend.shutdown()
    assert ahead.text() == plain.text()
    assert ahead.variables == plain.variables


def test_other_sampling_is_not_served_from_what_was_written() -> None:
    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("a", stop="\n") + "\nBorn:"
        s += sgl.gen("b", stop="\n", temperature=0.5)

    with openai_server(Biographer()) as server:
        backend = OpenAI("m", False, base_url=server.url, api_key="key")
        program.run(backend=backend, temperature=0)
        backend.shutdown()
    assert [request["temperature"] for request in server.requests] == [0, 0.5]


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"frequency_penalty": 0.5}, 2),
        ({"presence_penalty": 0.5}, 2),
        ({"seed": 7, "temperature": 0.5}, 2),
        ({"seed": 7, "temperature": 0}, 1),
    ],
)
def test_what_depends_on_the_call_is_not_written_ahead(options: dict[str, Any], calls: int) -> None:
    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState) -> None:
        fill(s, ["Name", "Born"], **options)

    with openai_server(Biographer()) as server:
        backend = OpenAI("m", False, base_url=server.url, api_key="key")
        program.run(backend=backend)
        backend.shutdown()
    assert len(server.requests) == calls


def test_bind_and_fork_keep_writing_ahead() -> None:
    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState, intro: str) -> None:
        s += intro
        forks = s.fork(2)
        for fork in forks:
            fill(fork, ["Name", "Born", "Field"])
        forks.join()
        with s.copy() as copy:
            fill(copy, ["Name", "Born"])

    with openai_server(Biographer()) as server:
        backend = OpenAI("m", False, base_url=server.url, api_key="key")
        state = program.bind(intro="A life.\n").run(backend=backend)
        backend.shutdown()
    assert state["Field"] == [" mathematics"] * 2
    assert (state.usage.calls, state.usage.saved_calls) == (3, 5)


def test_runs_at_the_same_time_do_not_mix() -> None:
    def answer(body: dict[str, Any]) -> str:
        number = re.findall(r"#(\d+)", body["prompt"])[0]
        return f" a{number}\nB: b{number}\n"

    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState, number: int) -> None:
        s += f"#{number}\nA:" + sgl.gen("a", stop="\n") + "\nB:" + sgl.gen("b", stop="\n")

    with openai_server(answer) as server, ThreadPoolExecutor(8) as pool:
        backend = OpenAI("m", False, base_url=server.url, api_key="key")
        states = list(pool.map(lambda i: program.run(i, backend=backend), range(40)))
        backend.shutdown()
    assert [(s["a"], s["b"]) for s in states] == [(f" a{i}", f" b{i}") for i in range(40)]
    assert len(server.requests) == 40


# --------------------------------------------------------------------------- what goes wrong

MODES = pytest.mark.parametrize("program", [completion, conversation], ids=["completion", "chat"])
LABELS = ["Name", "Born", "Field"]


def failing_first(*replies: Reply) -> Script:
    """These answers first, then the biographer's."""
    left = list(replies)
    return lambda body: left.pop(0) if left else Biographer()(body)


def run_ahead(program: sgl.SglFunction, script: Script, **options: Any) -> sgl.ProgramState:
    with openai_server(script) as server:
        backend = OpenAI(
            "m", program is conversation, base_url=server.url, api_key="key", **options
        )
        try:
            return program.run(LABELS, backend=backend, temperature=0)
        finally:
            backend.shutdown()


@MODES
def test_a_rate_limit_is_waited_for_and_counts_once(program: sgl.SglFunction) -> None:
    busy = Reply(status=429, headers={"Retry-After": "0"})
    state = run_ahead(program, failing_first(busy, busy))
    assert state.variables == {label: f" {FACTS[label]}" for label in LABELS}
    assert (state.usage.calls, state.usage.saved_calls) == (1, 2)


@MODES
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_refusal_is_raised_as_it_is(program: sgl.SglFunction, status: int) -> None:
    with pytest.raises(sgl.ProgramError, match="scripted refusal") as caught:
        run_ahead(program, lambda body: Reply(status=status), max_retries=0)
    assert isinstance(caught.value.__cause__, sgl.BackendError)
    assert caught.value.__cause__.status == status


@MODES
def test_a_refusal_of_a_later_plain_call_is_raised(program: sgl.SglFunction) -> None:
    """The first call is of no use, so the program goes on plainly and meets the refusal."""
    script = failing_first(Reply("nothing of the format"), Reply(" Ada\n"), Reply(status=400))
    with pytest.raises(sgl.ProgramError, match="scripted refusal"):
        run_ahead(program, script)


@MODES
def test_a_server_that_hangs_is_given_up(program: sgl.SglFunction) -> None:
    release = threading.Event()

    def hang(body: dict[str, Any]) -> str:
        release.wait(60)
        return ""

    with pytest.raises(sgl.ProgramError, match="timed out"):
        try:
            run_ahead(program, hang, timeout=0.2, max_retries=0)
        finally:
            release.set()


@MODES
def test_a_server_that_hangs_once_is_asked_again(program: sgl.SglFunction) -> None:
    release = threading.Event()
    asked = itertools.count()

    def answer(body: dict[str, Any]) -> str:
        if next(asked) == 0:
            release.wait(60)
        else:
            release.set()
        return Biographer()(body)

    state = run_ahead(program, answer, timeout=2.0, max_retries=2)
    assert (state["Field"], state.usage.calls) == (" mathematics", 1)


@MODES
def test_streams_do_without_and_a_cut_one_raises(program: sgl.SglFunction) -> None:
    with openai_server(failing_first(Reply(" Ada Lovelace", cut_after=1))) as server:
        backend = OpenAI("m", program is conversation, base_url=server.url, api_key="key")
        with pytest.raises(sgl.ProgramError, match="the API failed"):
            list(program.run(LABELS, backend=backend, stream=True).text_iter("Name"))
        state = program.run(LABELS, backend=backend, stream=True)
        plain = plainly(program).run(LABELS, backend=backend)
        assert "".join(state.text_iter()) == state.text() == plain.text()
        assert (state.usage.calls, state.usage.saved_calls) == (3, 0)
        backend.shutdown()


def test_forks_that_are_not_joined_are_counted() -> None:
    @sgl.function(num_api_spec_tokens=64)
    def program(s: sgl.ProgramState) -> None:
        for fork in s.fork(2):
            fill(fork, LABELS)

    with openai_server(Biographer()) as server:
        backend = OpenAI("m", False, base_url=server.url, api_key="key")
        usage = program.run(backend=backend).usage
        backend.shutdown()
    assert (usage.calls, usage.saved_calls) == (2, 4)
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
