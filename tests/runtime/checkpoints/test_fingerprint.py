"""What tells models apart."""

from __future__ import annotations

import os
from pathlib import Path

from sglang_lang.runtime.checkpoints.fingerprint import model_fingerprint


def test_content_and_settings_count_and_nothing_else(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    known = tmp_path / "known.json"
    base = model_fingerprint([one], "float32", known)
    assert len(base) == 32
    assert model_fingerprint([two], "float32", known) == base
    assert model_fingerprint([one], "bfloat16", known) != base
    assert model_fingerprint([one, two], "float32", known) != base
    two.write_bytes(b"weightt")
    os.utime(two, ns=(1, 1))
    assert model_fingerprint([two], "float32", known) != base


def test_a_file_is_read_once(tmp_path: Path) -> None:
    file, known = tmp_path / "weights", tmp_path / "folder" / "known.json"
    file.write_bytes(b"weights")
    state = file.stat()
    base = model_fingerprint([file], "", known)
    file.write_bytes(b"WEIGHTS")  # unseen: same size, and the time is put back
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert model_fingerprint([file], "", known) == base
    known.write_text("{broken")
    assert model_fingerprint([file], "", known) != base
