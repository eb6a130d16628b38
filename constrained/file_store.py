"""A folder of small files by key, least recently used ones dropped beyond a number of bytes.

Files are written whole or not at all, and hold a checksum: what is torn, cut or of someone else is
as good as absent. Several processes may share the folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MAGIC = b"sglang-lang kept\n"
SUFFIX = ".kept"
SHORT_OF = 0.9  # of the bytes that may be kept, so many stay when some are dropped


class FileStore:
    """Bytes by key, on disk.

    Args:
        folder: made when the first file is written.
        max_bytes: of all files together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._num_bytes: int | None = None  # as far as this process knows; None before it looked

    def get(self, key: str) -> bytes | None:
        """What was put under a key (a file name's worth of letters); None where nothing whole is.

        Counts as a use of it.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        content = data[len(MAGIC) + hashlib.sha256().digest_size :]
        if data != _framed(content):
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keeps some bytes; where the folder cannot be written, nothing is kept."""
        data = _framed(content)
        if len(data) > self._max_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as scratch:
                scratch.write(data)
            os.replace(scratch.name, self._path(key))
        except OSError:
            return
        known = self._num_bytes
        self._num_bytes = None if known is None else known + len(data)
        if self._num_bytes is None or self._num_bytes > self._max_bytes:
            self._drop_oldest()

    def _path(self, key: str) -> Path:
        return self._folder / (key + SUFFIX)

    def _drop_oldest(self) -> None:
        """Drops files, those unused for longest first, where all together are too large."""
        files = sorted(self._files())
        self._num_bytes = sum(size for _, size, _ in files)
        if self._num_bytes <= self._max_bytes:
            return
        for _, size, path in files:
            if self._num_bytes <= SHORT_OF * self._max_bytes:
                return
            with suppress(OSError):
                path.unlink(missing_ok=True)
            self._num_bytes -= size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When each file was used last, in nanoseconds, and how large it is."""
        with suppress(OSError):
            for path in self._folder.glob("*" + SUFFIX):
                with suppress(OSError):  # another process has dropped it
                    found = path.stat()
                    yield found.st_mtime_ns, found.st_size, path


def _framed(content: bytes) -> bytes:
    return MAGIC + hashlib.sha256(content).digest() + content
