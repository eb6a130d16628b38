"""The Anthropic, VertexAI and LiteLLM backends over real HTTP, against a scripted server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import sglang_lang as sgl

from .openai_server import OpenAIServer, Reply, Script, openai_server


@sgl.function
def chat(s: sgl.ProgramState) -> None:
    s += sgl.system("Be brief.")
    s += sgl.user("Hi")
    s += sgl.assistant(sgl.gen("x", stop=".", max_tokens=5) + sgl.select("y", ["no", "yes"]))


def test_anthropic_gets_the_system_apart() -> None:
    replies = iter(["one. two", "maybe", "yes!"])
    with openai_server(lambda body: next(replies)) as server:
        backend = sgl.Anthropic("claude", base_url=server.url.removesuffix("/v1"), api_key="key")
        state = chat.run(backend=backend)
        backend.shutdown()
    assert (state["x"], state["y"]) == ("one", "yes")
    first, *_, last = server.requests
    assert first["system"] == "Be brief."
    assert first["messages"] == [{"role": "user", "content": "Hi"}]
    assert (first["stop_sequences"], first["max_tokens"]) == (["."], 5)
    assert last["messages"][-1] == {"role": "assistant", "content": "one"}
    assert state.usage.calls == 3
    assert state.messages()[0] == {"role": "system", "content": "Be brief."}


def test_anthropic_refuses_and_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with openai_server(lambda body: Reply(status=400)) as server:
        backend = sgl.Anthropic("claude", base_url=server.url.removesuffix("/v1"), api_key="key")
        with pytest.raises(sgl.ProgramError, match="the API refused"):
            chat.run(backend=backend)
        backend.shutdown()
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(sgl.BackendError, match="set ANTHROPIC_API_KEY"):
        sgl.Anthropic("claude")


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


@sgl.function
def typed(s: sgl.ProgramState, schema: Any) -> None:
    s += sgl.user("?") + sgl.assistant(sgl.gen("x", json_schema=schema))
    s += sgl.user("?") + sgl.assistant(sgl.gen_int("i"))
    s += sgl.user("?") + sgl.assistant(sgl.select("c", ["red", "blue"]))


def test_anthropic_is_held_to_schemas() -> None:
    replies = iter(['{"a": 1}', '{"answer": 42}', '{"answer": "blue"}', '{"a": 2, "b": 3}'])
    with openai_server(lambda body: next(replies)) as server:
        backend = sgl.Anthropic("claude", base_url=server.url.removesuffix("/v1"), api_key="key")
        state = typed.run(SCHEMA, backend=backend)
        assert (state.get_object("x"), state["i"], state["c"]) == ({"a": 1}, 42, "blue")
        assert state.get_meta_info("x")["constraint"] == {"by": "schema", "tries": 1}
        first, _, choice = server.requests
        assert first["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}
        wanted = choice["output_config"]["format"]["schema"]["properties"]["answer"]
        assert wanted == {"type": "string", "enum": ["red", "blue"]}

        @sgl.function
        def program(s: sgl.ProgramState) -> None:
            open_schema = {**SCHEMA, "additionalProperties": True}
            s += sgl.user("?") + sgl.assistant(sgl.gen("x", json_schema=open_schema))

        assert program.run(backend=backend).get_object("x") == {"a": 2, "b": 3}
        assert server.requests[-1]["tool_choice"] == {"type": "tool", "name": "answer"}
        backend.shutdown()


def test_anthropic_waits_where_it_is_told_to() -> None:
    replies: Iterator[Reply | str] = iter(
        [Reply(status=429, headers={"retry-after": "0"}), "hello", "no"]
    )
    with openai_server(lambda body: next(replies)) as server:
        backend = sgl.Anthropic("claude", base_url=server.url.removesuffix("/v1"), api_key="key")
        assert chat.run(backend=backend)["x"] == "hello"
        assert len(server.requests) == 3
        backend.shutdown()


@contextmanager
def gemini(script: Script, **options: Any) -> Iterator[tuple[sgl.VertexAI, OpenAIServer]]:
    with openai_server(script) as server:
        base = {"base_url": server.url.removesuffix("/v1")}
        backend = sgl.VertexAI("gemini", api_key="key", http_options=base, **options)
        yield backend, server
        backend.shutdown()


def test_gemini_gets_turns_and_is_held_to_schemas() -> None:
    replies = iter(
        ["one. two", '{"answer": "yes"}', '{"a": 1}', '{"answer": 42}', '{"answer": "red"}']
    )
    with gemini(lambda body: next(replies)) as (backend, server):
        state = chat.run(backend=backend, temperature=0.5)
        assert (state["x"], state["y"]) == ("one", "yes")
        assert (state.usage.calls, state.usage.completion_tokens > 0) == (2, True)
        first = server.requests[0]
        assert first["systemInstruction"]["parts"] == [{"text": "Be brief."}]
        assert first["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
        config = first["generationConfig"]
        assert (config["stopSequences"], config["maxOutputTokens"]) == (["."], 5)
        assert config["temperature"] == 0.5
        state = typed.run(SCHEMA, backend=backend)
        assert (state.get_object("x"), state["i"], state["c"]) == ({"a": 1}, 42, "red")
        config = server.requests[2]["generationConfig"]
        assert config["responseMimeType"] == "application/json"
        assert config["responseJsonSchema"] == SCHEMA


@sgl.function
def short(s: sgl.ProgramState) -> None:
    s += sgl.user("Hi") + sgl.assistant(sgl.gen("x", max_tokens=8))


def test_gemini_streams() -> None:
    with gemini(lambda body: "one two three") as (backend, _):
        state = short.run(backend=backend, stream=True)
        pieces = list(state.text_iter("x"))
        assert "".join(pieces) == state["x"] == "one two three"
        assert state.usage.completion_tokens == 3
    with gemini(lambda body: Reply("one two three", cut_after=1)) as (backend, _):
        with pytest.raises(sgl.ProgramError, match="the API failed|ended before its end"):
            list(short.run(backend=backend, stream=True).text_iter("x"))


def test_gemini_is_asked_again_when_it_is_busy_and_refuses_clearly() -> None:
    replies: Iterator[Reply | str] = iter([Reply(status=503), "after all"])
    with gemini(lambda body: next(replies), max_retries=1) as (backend, server):
        assert short.run(backend=backend)["x"] == "after all"
        assert len(server.requests) == 2
    with gemini(lambda body: Reply(status=403)) as (backend, _):
        with pytest.raises(sgl.ProgramError, match="the API refused: scripted refusal") as caught:
            short.run(backend=backend)
    assert isinstance(caught.value.__cause__, sgl.BackendError)
    assert caught.value.__cause__.status == 403


def test_gemini_needs_a_project_or_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(sgl.BackendError, match="set GOOGLE_CLOUD_PROJECT and"):
        sgl.VertexAI("gemini", vertexai=False)


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its import asks the network else
    pytest.importorskip("litellm")


pytest_litellm = [
    pytest.mark.slow,
    pytest.mark.usefixtures("litellm"),
    pytest.mark.filterwarnings("ignore"),  # its own
]


class TestLiteLLM:
    pytestmark = pytest_litellm

    def test_a_model_that_takes_no_schema_is_validated(self) -> None:
        replies = iter(["one. two", "yes!"])
        with openai_server(lambda body: next(replies)) as server:
            backend = sgl.LiteLLM("openai/scripted", api_base=server.url, api_key="key")
            state = chat.run(backend=backend)
        assert (state["x"], state["y"]) == ("one", "yes")
        assert server.requests[0]["stop"] == ["."]
        assert state.usage.calls == 2

    def test_a_model_that_takes_schemas_is_held_to_them(self) -> None:
        replies = iter(['{"a": 1}', '{"answer": 42}', '{"answer": "blue"}'])
        with openai_server(lambda body: next(replies)) as server:
            backend = sgl.LiteLLM("openai/gpt-4o-mini", api_base=server.url, api_key="key")
            state = typed.run(SCHEMA, backend=backend)
        assert (state.get_object("x"), state["i"], state["c"]) == ({"a": 1}, 42, "blue")
        assert server.requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA

    def test_streams_and_refusals(self) -> None:
        replies: Iterator[Reply | str] = iter(["one two", Reply("one two", cut_after=1)])
        with openai_server(lambda body: next(replies, Reply(status=400))) as server:
            backend = sgl.LiteLLM(
                "openai/scripted", api_base=server.url, api_key="key", max_retries=0
            )
            state = short.run(backend=backend, stream=True)
            assert "".join(state.text_iter("x")) == "one two"
            with pytest.raises(sgl.ProgramError, match="failed|refused|ended before its end"):
                list(short.run(backend=backend, stream=True).text_iter("x"))
            with pytest.raises(sgl.ProgramError, match="the API refused.*scripted refusal"):
                short.run(backend=backend)

    def test_a_missing_key_names_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
        with pytest.raises(sgl.BackendError, match="set MISTRAL_API_KEY, or pass api_key="):
            sgl.LiteLLM("mistral/mistral-small")
