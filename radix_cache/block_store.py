"""Where blocks of evicted KV lie, under their ids and within a byte budget: memory or files.

A store knows bytes; what they mean, and whether they are still whole, is for host_tier.py to say.
Every method may be called from any thread.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

Chunk = bytes | memoryview


class StoreInUseError(Exception):
    """Another process keeps its blocks in the folder."""


class BlockStore(Protocol):
    @property
    def persistent(self) -> bool:
        """Whether the blocks outlive this process."""
        ...

    @property
    def capacity(self) -> int:
        """Most bytes it may hold."""
        ...

    @property
    def total_bytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __contains__(self, block_id: bytes) -> bool: ...

    def get(self, block_id: bytes) -> bytearray | None:
        """The block's bytes as they are now, whole or not; None if there are none."""
        ...

    def put(self, block_id: bytes, chunks: Iterable[Chunk]) -> None:
        """Keep the chunks, joined, and drop the blocks used longest ago if they do not all fit.

        Raises:
            OSError: they cannot be written; nothing is kept of them.
        """
        ...

    def touch(self, block_ids: Iterable[bytes]) -> None:
        """Note that the blocks were used, the last one last."""
        ...

    def discard(self, block_id: bytes) -> None: ...

    def clear(self) -> None:
        """Drop every block of this model."""
        ...

    def close(self) -> None: ...


class ByteBudget:
    """Sizes of what is kept, the least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.total = 0
        self._sizes: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, key: bytes) -> bool:
        return key in self._sizes

    def add(self, key: bytes, size: int) -> list[bytes]:
        """Note a key; returns those that must go to stay within the budget."""
        with self._lock:
            self.total += size - self._sizes.pop(key, 0)
            self._sizes[key] = size
            dropped = []
            while self.total > self.capacity:
                oldest, its_size = self._sizes.popitem(last=False)
                self.total -= its_size
                dropped.append(oldest)
            return dropped

    def touch(self, key: bytes) -> None:
        with self._lock:
            if key in self._sizes:
                self._sizes.move_to_end(key)

    def remove(self, key: bytes) -> None:
        with self._lock:
            self.total -= self._sizes.pop(key, 0)

    def keys(self) -> list[bytes]:
        with self._lock:
            return list(self._sizes)


class MemoryStore:
    """Blocks in this process's memory: for a model whose KV pool lies on a GPU."""

    persistent = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._budget = ByteBudget(capacity)
        self._blocks: dict[bytes, bytearray] = {}

    @property
    def total_bytes(self) -> int:
        return self._budget.total

    def __len__(self) -> int:
        return len(self._budget)

    def __contains__(self, block_id: bytes) -> bool:
        return block_id in self._blocks

    def get(self, block_id: bytes) -> bytearray | None:
        return self._blocks.get(block_id)

    def put(self, block_id: bytes, chunks: Iterable[Chunk]) -> None:
        block = bytearray().join(chunks)
        self._blocks[block_id] = block
        for dropped in self._budget.add(block_id, len(block)):
            self._blocks.pop(dropped, None)

    def touch(self, block_ids: Iterable[bytes]) -> None:
        for block_id in block_ids:
            self._budget.touch(block_id)

    def discard(self, block_id: bytes) -> None:
        self._budget.remove(block_id)
        self._blocks.pop(block_id, None)

    def clear(self) -> None:
        for block_id in self._budget.keys():
            self.discard(block_id)

    def close(self) -> None:
        self.clear()


class FileStore:
    """One file a block, ``folder/owner/id``; what is there already is used again.

    A file appears under its name only once it is written whole. It is not forced to the disk: one
    that a crash of the machine tears is found out by its checksum. The budget counts the blocks of
    all owners (other models, say), whose oldest go first.

    Args:
        folder: made if it is not there, readable by this user alone.
        owner: whose blocks to use, as some letters and digits.
        capacity: most bytes of all blocks in the folder.

    Raises:
        StoreInUseError: another process uses the folder.
        OSError: the folder cannot be used.
    """

    persistent = True
    _NAME = re.compile(r"[0-9a-f]{64}")
    _PART = ".part"

    def __init__(self, folder: Path, owner: str, capacity: int) -> None:
        self.capacity = capacity
        self._folder = folder
        self._owner = owner
        self._budget = ByteBudget(capacity)
        (folder / owner).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(folder / "lock")
        self._take_stock()

    @property
    def total_bytes(self) -> int:
        return self._budget.total

    def __len__(self) -> int:
        return len(self._budget)

    def __contains__(self, block_id: bytes) -> bool:
        return self._name(block_id) in self._budget

    def get(self, block_id: bytes) -> bytearray | None:
        try:
            with self._path(self._name(block_id)).open("rb", buffering=0) as file:
                block = bytearray(os.fstat(file.fileno()).st_size)
                read = file.readinto(block)
        except FileNotFoundError:
            return None
        return block[:read]

    def put(self, block_id: bytes, chunks: Iterable[Chunk]) -> None:
        name = self._name(block_id)
        path = self._path(name)
        part = path.with_name(path.name + self._PART)
        try:
            with part.open("wb", buffering=0) as file:
                size = sum(_write(file.fileno(), memoryview(chunk)) for chunk in chunks)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._drop(self._budget.add(name, size))

    def touch(self, block_ids: Iterable[bytes]) -> None:
        for block_id in block_ids:
            name = self._name(block_id)
            self._budget.touch(name)
            try:
                os.utime(self._path(name))
            except FileNotFoundError:
                self._budget.remove(name)

    def discard(self, block_id: bytes) -> None:
        name = self._name(block_id)
        self._budget.remove(name)
        self._drop([name])

    def clear(self) -> None:
        own = self._owner.encode() + b"/"
        for name in self._budget.keys():
            if name.startswith(own):
                self._budget.remove(name)
                self._drop([name])

    def close(self) -> None:
        os.close(self._lock)

    def _name(self, block_id: bytes) -> bytes:
        return f"{self._owner}/{block_id.hex()}".encode()

    def _path(self, name: bytes) -> Path:
        return self._folder / name.decode()

    def _drop(self, names: list[bytes]) -> None:
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _take_stock(self) -> None:
        """Count the blocks that lie here, and remove those that were being written at a crash."""
        found: list[tuple[int, bytes, int]] = []
        for owner in self._folder.iterdir():
            for file in owner.iterdir() if owner.is_dir() else ():
                if self._NAME.fullmatch(file.name):
                    stat = file.stat()
                    name = f"{owner.name}/{file.name}".encode()
                    found.append((stat.st_mtime_ns, name, stat.st_size))
                elif self._NAME.fullmatch(file.name.removesuffix(self._PART)):
                    file.unlink()
        for _, name, size in sorted(found):
            self._drop(self._budget.add(name, size))


def _lock(path: Path) -> int:
    """Hold a file for as long as this process lives, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreInUseError(f"{path.parent} is in use by another process") from None
    return handle


def _write(handle: int, data: memoryview) -> int:
    """All of ``data``; one call writes 2 GiB at most."""
    written = 0
    while written < data.nbytes:
        written += os.write(handle, data[written:])
    return written
