"""Programs on a server over real HTTP: what is sent, and what happens when it goes wrong."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

import sglang_lang as sgl
from tests.runtime.server.echo_server import EchoServer


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        yield server


@pytest.fixture
def endpoint(echo: EchoServer) -> Iterator[sgl.RuntimeEndpoint]:
    made = sgl.RuntimeEndpoint(echo.url)
    yield made
    made.shutdown()


# --------------------------------------------------------------------------- what is sent


def paths(monkeypatch: pytest.MonkeyPatch, endpoint: sgl.RuntimeEndpoint) -> list[str]:
    """Filled with the routes that the endpoint asks."""
    asked: list[str] = []
    send = endpoint._send

    async def noted(method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        asked.append(path)
        return await send(method, path, body)

    monkeypatch.setattr(endpoint, "_send", noted)
    return asked


def chat_ids(echo: EchoServer, messages: list[dict[str, str]], **body: Any) -> list[int]:
    """What /v1/chat/completions shows the model."""
    request = urllib.request.Request(
        f"{echo.url}/v1/chat/completions",
        json.dumps({"messages": messages, "max_tokens": 1, **body}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    return echo.side.scheduler.requests[-1].input_ids


def test_a_chat_turn_is_one_call_with_the_tokens_of_chat_completions(
    echo: EchoServer, endpoint: sgl.RuntimeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = paths(monkeypatch, endpoint)

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.system("Ü <b>") + sgl.user("a\n")
        s += sgl.assistant(sgl.gen("x", max_tokens=4))
        s += sgl.user("b") + sgl.assistant("Well, " + sgl.gen("y", max_tokens=4, n=2))

    state = program.run(backend=endpoint)
    first, *second = echo.side.scheduler.requests
    assert asked == ["/generate", "/generate"]
    turns = state.messages()
    assert state.get_meta_info("x")["prompt_tokens"] == len(first.input_ids)
    assert first.input_ids == chat_ids(echo, turns[:2])
    begun = [*turns[:4], {"role": "assistant", "content": "Well, "}]
    expected = chat_ids(echo, begun, continue_final_message=True, add_generation_prompt=False)
    assert [request.input_ids for request in second] == [expected, expected]
    assert state.text() == "<system>Ü <b></system><user>a\n</user><assistant>" + (
        f"{state['x']}</assistant><user>b</user><assistant>Well, {state['y'][0]}</assistant>"
    )


def test_a_turn_of_the_user_may_be_generated_too(
    echo: EchoServer, endpoint: sgl.RuntimeEndpoint
) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.system("be brief") + sgl.user("I ask: " + sgl.gen("x", max_tokens=4))

    program.run(backend=endpoint)
    sent = bytes(echo.side.scheduler.requests[0].input_ids)
    assert sent == b"<system>be brief</system><user>I ask: "


def test_text_ahead_of_the_turns_stays_there(
    echo: EchoServer, endpoint: sgl.RuntimeEndpoint
) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "plain "
        s += sgl.user("a") + sgl.assistant(sgl.gen("x", max_tokens=2))
        s += "more" + sgl.gen("y", max_tokens=2)

    state = program.run(backend=endpoint)
    sent = [bytes(request.input_ids).decode() for request in echo.side.scheduler.requests]
    assert sent[0] == "plain <user>a</user><assistant>"
    assert sent[1] == f"{sent[0]}{state['x']}</assistant>more"


def test_a_stream_of_a_chat_has_the_same_text(
    echo: EchoServer, endpoint: sgl.RuntimeEndpoint
) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("a") + sgl.assistant("b" + sgl.gen("x", max_tokens=3))

    state = program.run(backend=endpoint, stream=True)
    assert "".join(state.text_iter()) == state.text() == program.run(backend=endpoint).text()


# --------------------------------------------------------------------------- what goes wrong


@contextmanager
def raw_server(
    answer: Callable[[bytes], bytes], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Answers every request, by its head, with exact bytes, then closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener is shut
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), connection:  # a client that does not trust us leaves
                    _answer(tls.wrap_socket(connection, server_side=True) if tls else connection)

    def _answer(client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            client.sendall(answer(head))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def http(content: Any, status: str = "200 OK", *headers: str) -> bytes:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


MODEL = {"model_path": "m", "has_chat_template": True}


def of_generate(answer: bytes) -> Callable[[bytes], bytes]:
    return lambda head: answer if b"/generate" in head else http(MODEL)


@sgl.function
def plain(s: sgl.ProgramState) -> None:
    s += "a" + sgl.gen("x")


@contextmanager
def endpoint_of(url: str, **options: Any) -> Iterator[sgl.RuntimeEndpoint]:
    endpoint = sgl.RuntimeEndpoint(url, **options)
    try:
        yield endpoint
    finally:
        endpoint.shutdown()


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_tells_what_the_server_says(stream: bool) -> None:
    refusal = http({"error": {"message": "too busy"}}, "429 No", "Retry-After: 7")
    with raw_server(of_generate(refusal)) as url, endpoint_of(url) as endpoint:
        error = plain.run(backend=endpoint, stream=stream).error() if stream else None
        if error is None:
            with pytest.raises(sgl.ProgramError) as raised:
                plain.run(backend=endpoint)
            error = raised.value
    assert "/generate answered 429: too busy" in str(error)
    cause = error.__cause__
    assert isinstance(cause, sgl.BackendError)
    assert (cause.status, cause.retry_after) == (429, 7.0)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"SSH-2.0-x\r\n\r\n"],
    ids=["nothing", "half", "no http"],
)
def test_a_connection_that_breaks_is_an_error_of_the_program(answer: bytes) -> None:
    with raw_server(of_generate(answer)) as url, endpoint_of(url) as endpoint:
        with pytest.raises(sgl.ProgramError, match="/generate cannot be reached"):
            plain.run(backend=endpoint)


def sse(*events: Any) -> bytes:
    lines = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"".join(lines)


def test_an_event_of_a_stream_may_be_long() -> None:
    long = "x" * 300_000
    answer = sse({"text": "x", "meta_info": {}}, {"text": long, "meta_info": {}})
    with raw_server(of_generate(answer + b"data: [DONE]\n\n")) as url, endpoint_of(url) as endpoint:
        assert plain.run(backend=endpoint, stream=True)["x"] == long


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (sse({"text": "x", "meta_info": {}}), "ended a stream before its end"),
        (sse({"error": {"message": "the scheduler died"}}), "the scheduler died"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: ", "broke off"),
    ],
)
def test_a_stream_that_breaks_off_ends_its_reader(answer: bytes, told: str) -> None:
    with raw_server(of_generate(answer)) as url, endpoint_of(url) as endpoint:
        state = plain.run(backend=endpoint, stream=True)
        with pytest.raises(sgl.ProgramError, match=told):
            list(state.text_iter("x"))


def test_an_endpoint_that_was_shut_down_says_so(endpoint: sgl.RuntimeEndpoint) -> None:
    endpoint.shutdown()
    with pytest.raises(sgl.ProgramError, match="was shut down"):
        plain.run(backend=endpoint)


# --------------------------------------------------------------------------- how it is reached


FORKED = """
import os, sys
import sglang_lang as sgl

@sgl.function
def program(s):
    s += "abc" + sgl.gen("x", max_tokens=2)

endpoint = sgl.RuntimeEndpoint(sys.argv[1])
program.run(backend=endpoint)
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0 if program.run(backend=endpoint)["x"] == "ab" else 1)
"""


def test_a_process_that_was_forked_goes_on_with_connections_of_its_own(echo: EchoServer) -> None:
    command = [sys.executable, "-c", FORKED, echo.url]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0


def test_certificates_are_checked_against_a_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    with raw_server(lambda head: http(MODEL), tls) as url:
        with endpoint_of(url, verify=str(trusted)) as endpoint:
            assert endpoint.model_name == "m"
        with endpoint_of(url, verify=False) as endpoint:
            assert endpoint.model_name == "m"
        with pytest.raises(sgl.BackendError, match="certificate verify failed"):
            sgl.RuntimeEndpoint(url)


def test_the_environment_may_name_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return http(MODEL)

    with raw_server(answer) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.delenv("no_proxy", raising=False)
        with endpoint_of("http://far.invalid", api_key="k") as endpoint:
            assert endpoint.model_name == "m"
    assert heads[0].startswith(b"GET http://far.invalid/get_model_info HTTP/1.1")
    assert b"Authorization: Bearer k" in heads[0]
