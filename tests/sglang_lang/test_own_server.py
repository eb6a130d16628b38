"""The OpenAI backend against this project's own server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import sglang_lang as sgl

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sgl.Runtime(cpu_threads=1, max_total_tokens=4096) as runtime:
        yield f"{runtime.base_url}/v1"


@sgl.function(num_api_spec_tokens=24)
def animals(s: sgl.ProgramState) -> None:
    s += "Animal: dog\nSound: woof\n\nAnimal: cow\nSound: moo\n\nAnimal: cat\nSound:"
    s += sgl.gen("a", stop="\n") + "\n\nAnimal:" + sgl.gen("b", stop="\n")
    s += "\nSound:" + sgl.gen("c", stop="\n")


def test_writing_ahead_gives_what_plain_calls_give(url: str) -> None:
    backend = sgl.OpenAI("default", is_chat_model=False, base_url=url, api_key="none")
    ahead = animals.run(backend=backend, temperature=0)
    plain = sgl.SglFunction(animals.func).run(backend=backend, temperature=0)
    backend.shutdown()
    assert ahead.text() == plain.text()
    assert (plain.usage.calls, ahead.usage.calls) == (3, 1)
    assert plain.usage.prompt_tokens > 2.8 * ahead.usage.prompt_tokens


@sgl.function
def constrained(s: sgl.ProgramState) -> None:
    s += sgl.user("How many legs does a cat have? Answer with one digit.")
    s += sgl.assistant(sgl.gen_int("number", max_tokens=32))
    s += sgl.user("And the colour?")
    s += sgl.assistant(sgl.select("colour", ["red", "green", "blue"]))


def test_types_and_choices_are_enforced(url: str) -> None:
    backend = sgl.OpenAI("default", base_url=url, api_key="none")
    state = constrained.run(backend=backend, temperature=0)
    backend.shutdown()
    assert isinstance(state["number"], int)
    assert state["colour"] in ("red", "green", "blue")
    assert state.usage.calls == 2


def test_streams_end_with_their_usage(url: str) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("x", max_tokens=6))

    backend = sgl.OpenAI("default", base_url=url, api_key="none")
    state = program.run(backend=backend, stream=True, temperature=0)
    streamed = "".join(state.text_iter("x"))
    state.sync()
    assert streamed == state["x"] == program.run(backend=backend, temperature=0)["x"]
    assert state.usage.completion_tokens == 6
    backend.shutdown()
