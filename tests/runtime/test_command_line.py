"""Flags, lists of values, and a configuration file that flags overrule."""

from __future__ import annotations

from pathlib import Path

import pytest

from sglang_lang.runtime.command_line import parse_args
from sglang_lang.runtime.errors import ServerArgsError


def test_lists_take_several_values_and_may_be_repeated() -> None:
    args = parse_args(["--api-key", "a", "b", "--api-key", "c"])
    assert args.api_key == ("a", "b", "c")


def test_a_file_holds_flags_and_the_command_line_overrules_it(tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(
        "port: 8000\nlog_format: json\nlog-requests: true\ndisable-jump-forward: false\n"
        "api-key: [one, two]\nrate-limit: 30\nmodel: folder\ncontext-length: null\n"
    )
    args = parse_args(["--config", str(config), "--port", "9000"])
    assert (args.port, args.log_format, args.log_requests) == (9000, "json", True)
    assert args.api_key == ("one", "two")
    assert (args.rate_limit, args.model_path, args.context_length) == (30.0, "folder", None)
    assert not args.disable_jump_forward


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prot: 1", "--prot"),
        ("port: many", "--port"),
        ("- port", "lines of"),
        ("port: [", "cannot be read"),
        ("dtype: int3", "--dtype"),
    ],
)
def test_a_wrong_file_is_one_error(tmp_path: Path, text: str, complaint: str) -> None:
    config = tmp_path / "server.yaml"
    config.write_text(text)
    with pytest.raises(ServerArgsError, match=complaint):
        parse_args(["--config", str(config)])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ServerArgsError, match=r"nowhere\.yaml"):
        parse_args(["--config", "nowhere.yaml"])


@pytest.mark.parametrize(
    "flags",
    [
        ["--rate-limit", "0"],
        ["--request-timeout", "-1"],
        ["--max-body-size", "0"],
        ["--log-requests-level", "4"],
        ["--ssl-keyfile", "key.pem"],
        ["--api-key", ""],
    ],
    ids=lambda flags: flags[0],
)
def test_values_that_cannot_work_are_named(flags: list[str]) -> None:
    with pytest.raises(ServerArgsError, match=flags[0]):
        parse_args(flags)
