"""Files in OpenAI's batch format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sglang_lang import cli
from tests.runtime.server.echo_server import EchoServer


def line(custom_id: str, url: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def test_every_request_has_its_answer(server: EchoServer, tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    source = write(
        tmp_path / "in.jsonl",
        line("a", prompt="abc", model="default"),
        line("b", "/v1/chat/completions", **chat),
        line("c", prompt="x", model="nope"),
    )
    out = tmp_path / "out.jsonl"
    flags = ["--url", server.url, "--api-key", "key"]
    assert cli.main(["run-batch", str(source), str(out), *flags]) == 1
    answers = {a["custom_id"]: a for a in map(json.loads, out.read_text().splitlines())}
    assert answers["a"]["response"]["body"]["choices"][0]["text"] == "abc"
    assert answers["b"]["response"]["body"]["object"] == "chat.completion"
    assert answers["c"]["response"]["status_code"] == 404
    assert answers["a"]["error"] is None and answers["a"]["response"]["request_id"]


def test_a_server_that_is_not_there_is_the_error_of_each_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.jsonl", line("a", prompt="abc"))
    assert cli.main(["run-batch", str(source), "--url", "http://127.0.0.1:1"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "ConnectError"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"url": "/v1/completions", "body": {}}, "custom_id"),
        (line("a", prompt="x"), "repeats the custom_id 'a'"),
        (line("b", "/generate"), "/v1/"),
        (line("b") | {"body": 3}, "body"),
        (line("b", stream=True), "stream"),
        (line("b") | {"method": "GET"}, "POST"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], complaint: str
) -> None:
    source = write(tmp_path / "in.jsonl", line("a", prompt="x"), wrong)
    assert cli.main(["run-batch", str(source), "--url", "http://127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert "in.jsonl:2" in error and complaint in error
