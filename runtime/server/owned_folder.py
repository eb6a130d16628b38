"""A folder that one server at a time may use."""

from __future__ import annotations

import fcntl
from pathlib import Path

from ..errors import ServerArgsError


class OwnedFolder:
    """Holds a folder, made if it is not there, until ``release`` or the end of the process.

    Args:
        path: of the folder.
        flag: of the command line that names it, for the error.

    Raises:
        ServerArgsError: another server holds it, or it cannot be made.
    """

    def __init__(self, path: Path, flag: str) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(path / "owner", "w")  # locked until it is closed
        except OSError as error:
            raise ServerArgsError(f"{flag} {path} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ServerArgsError(f"{flag} {path} is used by another server") from error

    def release(self) -> None:
        self._lock.close()
