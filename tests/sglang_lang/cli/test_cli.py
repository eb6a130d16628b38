"""The command line: what each command asks of a backend, and how mistakes are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sglang_lang as sgl
from sglang_lang import cli, terminal
from tests.sglang_lang.scripted import ScriptedBackend

PROGRAM = """
import sglang_lang as sgl

@sgl.function
def joke(s, topic="cats"):
    s += "Q: a joke. A:" + sgl.gen("answer", max_tokens=4)

if __name__ == "__main__":
    print("answer:", joke.run()["answer"])
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run`` sets these for the program it runs."""
    monkeypatch.setattr(sgl.global_config, "default_backend", None)
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    """What --url reaches in this test; its n-th answer is "answer n"."""
    scripted = ScriptedBackend(lambda _: f"answer {len(scripted.prompts)}")
    monkeypatch.setattr(sgl, "RuntimeEndpoint", lambda url, api_key=None: scripted)
    return scripted


def test_generate_streams_the_continuation(
    backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--url", "http://x", "--regex", "[a-z]+", "--max-tokens", "5"]
    assert cli.main(["generate", "Once", *flags]) == 0
    assert capsys.readouterr().out == "answer 1\n"
    assert backend.prompts[0].text == "Once"
    assert (backend.options[0].regex, backend.options[0].max_tokens) == ("[a-z]+", 5)


def test_a_chat_keeps_its_turns_until_reset(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["first", "", "second", "/reset", "third", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    terminal.chat(backend, "be brief", temperature=0.5)
    first, second, third = (prompt.text for prompt in backend.prompts)
    assert first == "<system>be brief</system><user>first</user><assistant>"
    assert second == first + "answer 1</assistant><user>second</user><assistant>"
    assert third == "<system>be brief</system><user>third</user><assistant>"
    assert backend.options[0].temperature == 0.5
    assert capsys.readouterr().out.splitlines()[1:] == ["answer 1", "answer 2", "answer 3"]


def test_a_chat_ends_with_its_input(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    assert cli.main(["chat", "--url", "http://x"]) == 0
    assert backend.prompts == []


def test_run_gives_a_program_its_backend(
    backend: ScriptedBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert cli.main(["run", str(program), "--url", "http://x"]) == 0
    assert capsys.readouterr().out == "answer: answer 1\n"


def test_run_finds_what_lies_beside_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_the_program.py").write_text("WORD = 'found'")
    program = tmp_path / "program.py"
    program.write_text("import beside_the_program\nprint(beside_the_program.WORD)\n")
    assert cli.main(["run", str(program)]) == 0
    assert capsys.readouterr().out == "found\n"
    assert cli.main(["run", str(tmp_path / "none.py")]) == 2
    assert "none.py is not a file" in capsys.readouterr().err


def test_run_starts_no_engine_for_a_program_that_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.Connection, "_connect", lambda _: pytest.fail("an engine was started"))
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(sys.argv[1:])\n")
    assert cli.main(["run", str(program), "one", "two"]) == 0
    assert capsys.readouterr().out == "['one', 'two']\n"


def test_graph_prints_the_programs_of_a_file_and_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert cli.main(["run", str(program), "--graph"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("joke:\n")
    assert "Q: a joke. A:" in out
    assert "gen" in out


def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "Once", "--url", "http://127.0.0.1:1"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "http://127.0.0.1:1" in line


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "absent.gguf"
    assert cli.main(["generate", "Once", "--model-path", str(missing)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(missing) in line


def test_serve_hands_its_flags_to_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--page-size", "0"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--page-size" in line


def test_doctor_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    assert "memory" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands_and_the_servers_flags(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("run-batch", "max-concurrency", "mem-fraction-static", "json-schema"):
        assert word in script
