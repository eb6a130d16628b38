"""A server that speaks the APIs of OpenAI, Anthropic and Google over HTTP, from a script."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = re.compile(r"\s?\w+|\s|[^\w\s]")


@dataclass(frozen=True)
class Reply:
    """What the model would write on and on, or what goes wrong."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # tokens of a stream, then the connection breaks
    reasoning: str = ""  # of a chat, told apart from the text


Script = Callable[[dict[str, Any]], Reply | str]


@dataclass
class OpenAIServer:
    """``requests`` are the bodies it was sent."""

    url: str
    script: Script
    requests: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def prompt_of(body: dict[str, Any]) -> str:
    if "prompt" in body:
        return str(body["prompt"])
    if "contents" in body:
        return "".join(part.get("text", "") for turn in body["contents"] for part in turn["parts"])
    return "".join(f"[{m['role']}]{m['content']}" for m in body["messages"])


def generate(text: str, body: dict[str, Any]) -> tuple[list[str], str]:
    """The tokens of ``text`` up to a stop or max_tokens, and the finish reason."""
    config = body.get("generationConfig", body)
    names = ("max_completion_tokens", "max_tokens", "maxOutputTokens")
    limit = next((config[name] for name in names if config.get(name)), 16)
    stops = body.get("stop") or body.get("stop_sequences") or config.get("stopSequences") or []
    stops = [stops] if isinstance(stops, str) else stops
    tokens = TOKEN.findall(text)
    reason = "stop" if len(tokens) <= limit else "length"
    written = ""
    for token in tokens[:limit]:
        written += token
        found = [at for stop in stops if (at := written.find(stop)) >= 0]
        if found:
            kept = written[: min(found)]
            return [*TOKEN.findall(kept)], "stop"
    return tokens[:limit], reason


class Handler(BaseHTTPRequestHandler):
    owner: OpenAIServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner = self.owner
        with owner.lock:
            owner.requests.append(body)
            owner.running += 1
            owner.most_at_once = max(owner.most_at_once, owner.running)
        try:
            reply = owner.script(body)
        finally:
            with owner.lock:
                owner.running -= 1
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
            self.answer(body, Reply(reply) if isinstance(reply, str) else reply)

    def answer(self, body: dict[str, Any], reply: Reply) -> None:
        if reply.status != 200:
            self.send(reply.status, {"error": {"message": "scripted refusal"}}, reply.headers)
            return
        tokens, reason = generate(reply.text, body)
        counts = {
            "prompt_tokens": len(TOKEN.findall(prompt_of(body))),
            "completion_tokens": len(tokens),
            "total_tokens": 0,
        }
        if self.path.endswith("/messages"):
            self.send(200, anthropic_message(body, "".join(tokens), reason, counts))
        elif "streamGenerateContent" in self.path:
            self.begin_stream()
            for token in tokens[: reply.cut_after]:
                self.event(json.dumps(gemini_answer(token, None, counts)))
            if reply.cut_after is None:
                self.event(json.dumps(gemini_answer("", reason, counts)))
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True
        elif "generateContent" in self.path:
            self.send(200, gemini_answer("".join(tokens), reason, counts))
        elif body.get("stream"):
            self.stream(body, tokens, reason, counts, reply)
        else:
            choices = [whole(body, "".join(tokens), reason, i) for i in range(body.get("n") or 1)]
            if reply.reasoning:
                choices[0]["message"]["reasoning_content"] = reply.reasoning
            self.send(200, envelope(body, choices, counts))

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(
        self,
        body: dict[str, Any],
        tokens: list[str],
        reason: str,
        counts: dict[str, int],
        reply: Reply,
    ) -> None:
        self.begin_stream()
        for thought in TOKEN.findall(reply.reasoning):
            delta = {"index": 0, "finish_reason": None, "delta": {"reasoning_content": thought}}
            self.event(json.dumps(envelope(body, [delta], None)))
        for token in tokens[: reply.cut_after]:
            self.event(json.dumps(envelope(body, [part(body, token, None)], None)))
        if reply.cut_after is None:
            self.event(json.dumps(envelope(body, [part(body, "", reason)], None)))
            self.event(json.dumps(envelope(body, [], counts)))
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def log_message(self, *_: Any) -> None:
        pass


def envelope(body: dict[str, Any], choices: list[Any], usage: Any) -> dict[str, Any]:
    kind = "chat.completion" if "messages" in body else "text_completion"
    kind += ".chunk" if body.get("stream") and "messages" in body else ""
    head = {"id": "scripted-1", "object": kind, "created": 0, "model": body["model"]}
    return {**head, "choices": choices, "usage": usage}


def whole(body: dict[str, Any], text: str, reason: str, index: int) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if "messages" in body else {}
    return {"index": index, "finish_reason": reason, "logprobs": None, **(said or {"text": text})}


def part(body: dict[str, Any], text: str, reason: str | None) -> dict[str, Any]:
    said = {"delta": {"content": text}} if "messages" in body else {"text": text}
    return {"index": 0, "finish_reason": reason, "logprobs": None, **said}


def anthropic_message(
    body: dict[str, Any], text: str, reason: str, counts: dict[str, int]
) -> dict[str, Any]:
    content: dict[str, Any] = {"type": "text", "text": text}
    if "tool_choice" in body:
        name = body["tool_choice"]["name"]
        content = {"type": "tool_use", "id": "t", "name": name, "input": json.loads(text)}
    return {
        "id": "scripted-1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [content],
        "stop_reason": "max_tokens" if reason == "length" else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": counts["prompt_tokens"],
            "output_tokens": counts["completion_tokens"],
        },
    }


def gemini_answer(text: str, reason: str | None, counts: dict[str, int]) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    if reason is not None:
        candidate["finishReason"] = {"stop": "STOP", "length": "MAX_TOKENS"}[reason]
    usage = {
        "promptTokenCount": counts["prompt_tokens"],
        "candidatesTokenCount": counts["completion_tokens"],
    }
    return {"candidates": [candidate], "usageMetadata": usage, "responseId": "scripted-1"}


@contextmanager
def openai_server(script: Script) -> Iterator[OpenAIServer]:
    """Runs until the block ends."""
    owner = OpenAIServer("", script)
    handler = type("ScriptedHandler", (Handler,), {"owner": owner})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    owner.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield owner
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
