"""What tells one model from another: a hash of its files and of how they are used.

Hashing reads every byte once; the digests are kept beside what they protect, under each file's
size and time of change, so that the next start is quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HASHING_THREADS = 4


def model_fingerprint(files: Sequence[Path], settings: str, known: Path) -> bytes:
    """32 bytes that differ whenever a file's content or the settings do.

    Args:
        files: configuration and weights.
        settings: all else that decides what the model computes.
        known: JSON file with digests of earlier starts; rewritten.
    """
    keys = [_state(file) for file in files]
    digests = _read(known)
    new = [(key, file) for key, file in zip(keys, files, strict=True) if key not in digests]
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        for (key, _), digest in zip(new, pool.map(_digest, (file for _, file in new)), strict=True):
            digests[key] = digest
    if new:
        known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known.write_text(json.dumps({key: digests[key] for key in keys}, indent=1))
    whole = hashlib.blake2b(settings.encode(), digest_size=32)
    for key in keys:
        whole.update(digests[key].encode())
    return whole.digest()


def _state(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def _read(known: Path) -> dict[str, str]:
    """The digests, none if the file is missing or broken: then the files are hashed again."""
    try:
        digests = json.loads(known.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(digests, dict):
        return {}
    return {key: value for key, value in digests.items() if isinstance(value, str)}
