"""Files by key: whole or absent, shared between stores, bounded in bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sglang_lang.constrained.file_store import FileStore


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_is_put_is_there_for_other_stores_too(tmp_path: Path) -> None:
    FileStore(tmp_path / "a", 1 << 20).put("k", b"content")
    assert FileStore(tmp_path / "a", 1 << 20).get("k") == b"content"
    assert FileStore(tmp_path / "a", 1 << 20).get("other") is None


@pytest.mark.parametrize("kept", [0, 10, -1])
def test_a_torn_file_is_absent(tmp_path: Path, kept: int) -> None:
    store = FileStore(tmp_path, 1 << 20)
    store.put("k", b"content")
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    assert store.get("k") is None


def test_a_changed_or_foreign_file_is_absent(tmp_path: Path) -> None:
    store = FileStore(tmp_path, 1 << 20)
    store.put("k", b"content")
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"content", b"contend"))
    assert store.get("k") is None
    path.write_bytes(b"of someone else, and longer than the head of a file of this store" * 2)
    assert store.get("k") is None


def test_the_least_recently_used_files_are_dropped(tmp_path: Path) -> None:
    store = FileStore(tmp_path, 1000)
    for age, key in enumerate("abc"):
        store.put(key, bytes(200))
        os.utime(tmp_path / f"{key}.kept", ns=(age, age))
    store.get("a")  # now the one used last
    store.put("d", bytes(400))
    assert [key for key in "abcd" if store.get(key) is not None] == ["a", "d"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_what_is_larger_than_all_may_be_is_not_written(tmp_path: Path) -> None:
    store = FileStore(tmp_path, 100)
    store.put("k", bytes(200))
    assert store.get("k") is None and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    store = FileStore(file / "below", 1 << 20)
    store.put("k", b"content")
    assert store.get("k") is None
