"""The OpenAI backend over real HTTP, against a scripted server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tiktoken

import sglang_lang as sgl
from sglang_lang.backends.media import data_url
from sglang_lang.backends.openai_api import OpenAI
from sglang_lang.ir import SglMedia

from .openai_server import OpenAIServer, Reply, Script, openai_server, prompt_of

Connect = Callable[..., tuple[OpenAI, OpenAIServer]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """``connect(script, **arguments of OpenAI)`` gives a backend and its server."""
    opened: list[Any] = []

    def start(script: Script, **arguments: Any) -> tuple[OpenAI, OpenAIServer]:
        context = openai_server(script)
        server = context.__enter__()
        backend = OpenAI("scripted", base_url=server.url, api_key="key", **arguments)
        opened.append((context, backend))
        return backend, server

    yield start
    for context, backend in opened:
        backend.shutdown()
        context.__exit__(None, None, None)


@sgl.function
def chat(s: sgl.ProgramState, **options: Any) -> None:
    s += sgl.system("Be brief.")
    s += sgl.user("Hi")
    s += sgl.assistant(sgl.gen("x", **options))


def test_a_chat_sends_its_turns_and_counts_its_tokens(connect: Connect) -> None:
    backend, server = connect(lambda body: "one two three.")
    state = chat.run(backend=backend, stop=".", temperature=0.5, max_new_tokens=9)
    assert state["x"] == "one two three"
    assert server.requests == [
        {
            "model": "scripted",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
            ],
            "max_completion_tokens": 9,
            "stop": ["."],
            "temperature": 0.5,
            "top_p": 1.0,
            "n": 1,
        }
    ]
    assert (state.usage.calls, state.usage.completion_tokens) == (1, 3)
    assert state.get_meta_info("x")["finish_reason"] == {"type": "stop"}


def test_a_completion_model_gets_the_text(connect: Connect) -> None:
    backend, server = connect(lambda body: " b c", is_chat_model=False)

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "a" + sgl.gen("x", max_tokens=1)

    assert program.run(backend=backend).text() == "a b"
    assert server.requests[0]["prompt"] == "a"
    assert server.requests[0]["max_tokens"] == 1


@pytest.mark.parametrize("is_chat_model", [True, False])
def test_streams_come_in_pieces_and_end_with_usage(connect: Connect, is_chat_model: bool) -> None:
    backend, server = connect(
        lambda body: "one two three", is_chat_model=is_chat_model, chat_template="default"
    )
    state = chat.run(backend=backend, stream=True)
    assert "".join(state.text_iter("x")) == "one two three"
    state.sync()
    assert server.requests[0]["stream"] is True
    assert state.usage.completion_tokens == 3


def test_several_answers_count_as_one_call(connect: Connect) -> None:
    backend, _ = connect(lambda body: "yes")
    state = chat.run(n=3, backend=backend)
    assert state["x"] == ["yes"] * 3
    assert state.usage.calls == 1


def test_a_closed_schema_is_enforced_strictly(connect: Connect) -> None:
    backend, server = connect(lambda body: '{"a": 1}')
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }

    @sgl.function
    def program(s: sgl.ProgramState, schema: Any) -> None:
        s += sgl.user("?") + sgl.assistant(sgl.gen("x", json_schema=schema))

    assert program.run(schema, backend=backend).get_object("x") == {"a": 1}
    assert program.run({**schema, "required": []}, backend=backend)["x"] == '{"a": 1}'
    formats = [request["response_format"]["json_schema"] for request in server.requests]
    assert [form["strict"] for form in formats] == [True, False]
    assert formats[0]["schema"] == schema


def test_types_and_choices_are_schemas_of_a_chat_model(connect: Connect) -> None:
    def answer(body: dict[str, Any]) -> str:
        wanted = body["response_format"]["json_schema"]["schema"]["properties"]["answer"]
        return json.dumps({"answer": wanted["enum"][1] if "enum" in wanted else 42})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("?")
        s += sgl.assistant(sgl.gen_int("i") + " is " + sgl.select("c", ["red", "blue"]))

    backend, server = connect(answer)
    state = program.run(backend=backend)
    assert (state["i"], state["c"]) == (42, "blue")
    assert state.messages()[-1]["content"] == "42 is blue"
    assert server.requests[1]["messages"][-1] == {"role": "assistant", "content": "42 is "}


def test_a_regex_is_asked_for_again_and_then_given_up(connect: Connect) -> None:
    answers = iter(["maybe", "yes", *["maybe"] * 3])
    backend, _ = connect(lambda body: next(answers))
    state = chat.run(regex="yes|no", backend=backend)
    assert (state["x"], state.usage.calls, state.usage.completion_tokens) == ("yes", 2, 2)
    with pytest.raises(sgl.ProgramError, match="3 answers did not obey 'yes|no'.*'maybe'"):
        chat.run(regex="yes|no", backend=backend)


LETTERS = tiktoken.Encoding(
    "letters",
    pat_str=r"[\s\S]",
    mergeable_ranks={bytes([i]): i for i in range(256)},
    special_tokens={"<|endoftext|>": 256},
)


@sgl.function
def pick(s: sgl.ProgramState, choices: list[str]) -> None:
    s += "pick: " + sgl.select("c", choices)


def likes(wanted: str) -> Script:
    """A model that would write ``wanted``, as far as logit_bias lets it."""

    def answer(body: dict[str, Any]) -> str:
        written = prompt_of(body).partition("pick: ")[2]
        left = wanted.removeprefix(written)
        allowed = {chr(int(i)) for i in body["logit_bias"] if int(i) < 256}
        assert set(body["logit_bias"].values()) == {100} and body["max_tokens"] == 1
        if not left and "256" in body["logit_bias"]:
            return ""
        return left[0] if left[:1] in allowed else min(allowed)

    return answer


@pytest.mark.parametrize(
    ("choices", "chosen", "calls"),
    [
        (["red", "blue", "black"], "black", 2),  # b or r; l; u or a
        (["red", "red wine"], "red", 1),  # to end or to go on
        (["red", "red wine"], "red wine", 1),
        (["only"], "only", 0),
    ],
)
def test_a_completion_model_selects_token_by_token(
    connect: Connect, choices: list[str], chosen: str, calls: int
) -> None:
    backend, server = connect(likes(chosen), is_chat_model=False, encoding=LETTERS)
    state = pick.run(choices, backend=backend)
    assert (state["c"], state.text()) == (chosen, f"pick: {chosen}")
    assert (state.usage.calls, len(server.requests)) == (calls, calls)


def test_a_select_without_the_tokenizer_says_what_to_do(connect: Connect) -> None:
    backend, server = connect(lambda body: "x", is_chat_model=False)
    with pytest.raises(sgl.ProgramError, match="logit_bias and needs its tokenizer.*encoding="):
        pick.run(["a", "b"], backend=backend)
    assert server.requests == []


def test_a_text_that_logit_bias_did_not_hold_is_an_error(connect: Connect) -> None:
    backend, _ = connect(lambda body: "x", is_chat_model=False, encoding=LETTERS)
    with pytest.raises(sgl.ProgramError, match="held to .'b', 'r'., but wrote 'x'"):
        pick.run(["red", "blue"], backend=backend)


def without_schemas(answer: Script) -> Script:
    return lambda body: Reply(status=400) if "response_format" in body else answer(body)


def test_a_chat_model_without_schemas_selects_by_logit_bias(connect: Connect) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        for name in ("first", "second"):
            s += sgl.user("?") + sgl.assistant(sgl.select(name, ["yes", "no"]))

    def answer(body: dict[str, Any]) -> str:
        return min(chr(int(i)) for i in body["logit_bias"])

    backend, server = connect(without_schemas(answer), encoding=LETTERS)
    with pytest.warns(UserWarning, match="takes no schema"):
        state = program.run(backend=backend)
    assert (state["first"], state["second"]) == ("no", "no")
    assert ["response_format" in body for body in server.requests] == [True, False, False]


def test_a_chat_model_without_schemas_is_validated(connect: Connect) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answers = iter(['{"a": "one"}', "no json", '{"a": 1}'])
    backend, server = connect(without_schemas(lambda body: next(answers)))
    with pytest.warns(UserWarning, match="takes no schema"):
        state = chat.run(json_schema=json.dumps(schema), backend=backend)
    assert state.get_object("x") == {"a": 1}
    assert state.get_meta_info("x")["constraint"] == {"by": "validation", "tries": 3}
    assert (state.usage.calls, len(server.requests)) == (3, 4)


def test_a_400_that_is_not_about_the_schema_stays_an_error(connect: Connect) -> None:
    backend, _ = connect(lambda body: Reply(status=400))
    with pytest.raises(sgl.ProgramError, match="scripted refusal"):
        chat.run(json_schema="{}", backend=backend)


def test_crusoe_is_an_openai_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUSOE_API_KEY", raising=False)
    with pytest.raises(sgl.BackendError, match="set CRUSOE_API_KEY"):
        sgl.Crusoe("m")
    monkeypatch.setenv("CRUSOE_API_KEY", "key")
    with openai_server(lambda body: "hello") as server:
        backend = sgl.Crusoe("m", base_url=server.url)
        assert chat.run(backend=backend)["x"] == "hello"
        backend.shutdown()


def test_azure_is_reached_by_its_own_client() -> None:
    with openai_server(lambda body: "hello") as server:
        backend = OpenAI(
            "deployment",
            is_azure=True,
            azure_endpoint=server.url.removesuffix("/v1"),
            api_version="2024-10-21",
            api_key="key",
        )
        assert chat.run(backend=backend)["x"] == "hello"
        backend.shutdown()


def test_what_the_api_cannot_do_is_an_error(connect: Connect) -> None:
    backend, server = connect(lambda body: "x")
    for options in ({"top_k": 5}, {"min_p": 0.1}, {"ebnf": "root ::= 'a'"}, {"stop_regex": "a"}):
        with pytest.raises(sgl.ProgramError, match=f"OpenAI has no {next(iter(options))}"):
            chat.run(backend=backend, **options)
    assert server.requests == []


def test_a_rate_limit_is_waited_for(connect: Connect) -> None:
    replies = iter([Reply(status=429, headers={"Retry-After": "0"}), Reply("after all")])
    backend, server = connect(lambda body: next(replies))
    assert chat.run(backend=backend)["x"] == "after all"
    assert len(server.requests) == 2


def test_a_refusal_raises_with_its_status(connect: Connect) -> None:
    refusal = Reply(status=429, headers={"Retry-After": "7"})
    backend, _ = connect(lambda body: refusal, max_retries=0)
    with pytest.raises(sgl.ProgramError, match="scripted refusal") as caught:
        chat.run(backend=backend)
    cause = caught.value.__cause__
    assert isinstance(cause, sgl.BackendError)
    assert (cause.status, cause.retry_after) == (429, 7.0)


def test_a_cut_stream_raises(connect: Connect) -> None:
    backend, _ = connect(lambda body: Reply("one two three", cut_after=1))
    with pytest.raises(sgl.ProgramError, match="the API failed"):
        list(chat.run(backend=backend, stream=True).text_iter("x"))


def test_a_server_that_does_not_answer_raises(connect: Connect) -> None:
    release = threading.Event()
    backend, _ = connect(
        lambda body: "late" if release.wait(60) else "", timeout=0.2, max_retries=0
    )
    with pytest.raises(sgl.ProgramError, match="timed out"):
        chat.run(backend=backend)
    release.set()


def test_a_server_that_is_gone_raises() -> None:
    with openai_server(lambda body: "never read") as server:
        backend = OpenAI("scripted", base_url=server.url, api_key="key", max_retries=0)
    with pytest.raises(sgl.ProgramError, match="the API failed: Connection error"):
        chat.run(backend=backend)
    backend.shutdown()


def test_no_more_requests_at_once_than_allowed(connect: Connect) -> None:
    backend, server = connect(lambda body: "yes", max_concurrency=2)
    states = chat.run_batch([{}] * 12, backend=backend)
    assert [state["x"] for state in states] == ["yes"] * 12
    assert server.most_at_once <= 2


def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(sgl.BackendError, match="set OPENAI_API_KEY"):
        sgl.OpenAI("gpt-4o-mini")
    with pytest.raises(sgl.BackendError, match="set AZURE_OPENAI_API_KEY"):
        sgl.OpenAI("mine", is_azure=True, azure_endpoint="http://localhost", api_version="1")


def test_images_are_parts_of_the_users_turn(connect: Connect) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("what?" + sgl.image(b"\x89PNG...")) + sgl.assistant(sgl.gen("x"))

    backend, server = connect(lambda body: "a cat")
    assert program.run(backend=backend)["x"] == "a cat"
    parts = server.requests[0]["messages"][0]["content"]
    assert parts[0] == {"type": "text", "text": "what?"}
    assert parts[1]["image_url"]["url"].startswith("data:image/png;base64,iVBO")
    assert data_url(SglMedia("image", "https://example.org/a.png")) == "https://example.org/a.png"
