"""Blocks in memory and in files, within a budget."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sglang_lang.radix_cache.block_store import (
    BlockStore,
    FileStore,
    MemoryStore,
    StoreInUseError,
)

Make = Callable[[int], BlockStore]


def block_id(i: int) -> bytes:
    return bytes([i]) * 32


def content(store: BlockStore, i: int) -> bytes | None:
    block = store.get(block_id(i))
    return None if block is None else bytes(block)


@pytest.fixture(params=["memory", "files"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemoryStore
    return lambda capacity: FileStore(tmp_path, "model", capacity)


def test_what_was_put_is_there_joined(make: Make) -> None:
    store = make(1000)
    store.put(block_id(1), (b"ab", memoryview(b"cd")))
    assert content(store, 1) == b"abcd"
    assert block_id(1) in store and block_id(2) not in store
    assert store.get(block_id(2)) is None
    assert (len(store), store.total_bytes) == (1, 4)


def test_the_least_recently_used_goes_when_the_budget_is_full(make: Make) -> None:
    store = make(30)
    for i in range(3):
        store.put(block_id(i), (bytes(10),))
    store.touch([block_id(0)])
    store.put(block_id(3), (bytes(10),))
    assert [i for i in range(4) if block_id(i) in store] == [0, 2, 3]
    assert store.get(block_id(1)) is None
    assert store.total_bytes == 30


def test_a_block_larger_than_the_budget_is_not_kept(make: Make) -> None:
    store = make(30)
    store.put(block_id(1), (bytes(31),))
    assert (len(store), store.total_bytes, store.get(block_id(1))) == (0, 0, None)


def test_putting_again_replaces(make: Make) -> None:
    store = make(30)
    store.put(block_id(1), (bytes(10),))
    store.put(block_id(1), (b"xyz",))
    assert content(store, 1) == b"xyz"
    assert store.total_bytes == 3


def test_discarded_and_cleared_blocks_are_gone(make: Make) -> None:
    store = make(1000)
    for i in range(3):
        store.put(block_id(i), (b"x",))
    store.discard(block_id(1))
    assert store.get(block_id(1)) is None
    store.clear()
    assert (len(store), store.total_bytes, store.get(block_id(0))) == (0, 0, None)


def test_files_outlive_the_store_in_the_order_of_their_use(tmp_path: Path) -> None:
    first = FileStore(tmp_path, "model", 1000)
    for i in range(3):
        first.put(block_id(i), (bytes(10),))
    for seconds, i in enumerate((1, 0, 2)):
        os.utime(tmp_path / "model" / block_id(i).hex(), (seconds, seconds))
    first.close()
    second = FileStore(tmp_path, "model", 20)  # a smaller budget by now
    assert [i for i in range(3) if block_id(i) in second] == [0, 2]


def test_other_models_count_but_are_neither_found_nor_cleared(tmp_path: Path) -> None:
    first = FileStore(tmp_path, "one", 1000)
    first.put(block_id(1), (b"abc",))
    first.close()
    second = FileStore(tmp_path, "two", 1000)
    assert second.total_bytes == 3
    assert block_id(1) not in second and second.get(block_id(1)) is None
    second.clear()
    second.close()
    assert content(FileStore(tmp_path, "one", 1000), 1) == b"abc"


def test_a_folder_serves_one_process_at_a_time(tmp_path: Path) -> None:
    store = FileStore(tmp_path, "model", 1000)
    with pytest.raises(StoreInUseError, match="in use"):
        FileStore(tmp_path, "other", 1000)
    store.close()
    FileStore(tmp_path, "other", 1000).close()


def test_half_written_files_go_and_foreign_ones_stay(tmp_path: Path) -> None:
    FileStore(tmp_path, "model", 1000).close()
    part = tmp_path / "model" / (block_id(1).hex() + ".part")
    notes = tmp_path / "model" / "notes.txt"
    part.write_bytes(b"x")
    notes.write_bytes(b"x")
    store = FileStore(tmp_path, "model", 1)
    assert not part.exists() and notes.exists()
    assert len(store) == 0


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path, "model", 1000)
    (tmp_path / "model" / block_id(1).hex()).mkdir()  # nothing can take its name
    with pytest.raises(OSError):
        store.put(block_id(1), (b"abc",))
    assert block_id(1) not in store
    assert list((tmp_path / "model").glob("*.part")) == []


def test_the_folder_is_for_this_user_alone(tmp_path: Path) -> None:
    FileStore(tmp_path / "kv", "model", 1000).close()
    assert (tmp_path / "kv" / "model").stat().st_mode & 0o077 == 0
