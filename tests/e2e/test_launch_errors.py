"""A server that cannot start says why in one line and exits with status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from .server import exit_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model-path", "/no/such/model"], "/no/such/model"),
        (["--port", "99999"], "--port"),
        (["--mem-fraction-static", "3"], "--mem-fraction-static"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--schedule-policy", "magic"], "--schedule-policy"),
        (["--chat-template", "/no/such/file"], "--chat-template"),
        (["--device", "cpu", "--dtype", "float16"], "--dtype float16"),
        (["--device", "cpu", "--kv-cache-dtype", "float16"], "--kv-cache-dtype float16"),
        (["--kernel-backend", "triton"], "--kernel-backend"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_flags(flags: list[str], words: str) -> None:
    status, errors = exit_of(*flags)
    assert status == 2
    assert words in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_broken_gguf_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    status, errors = exit_of("--model-path", str(broken))
    assert status == 2
    assert "broken.gguf" in errors
    assert len(errors.strip().splitlines()) == 1
