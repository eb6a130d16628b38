"""Compile C++ sources into a cached shared library that ctypes can load.

Knows the compiler and the cache folder; nothing of what the libraries do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMPILERS = ("g++", "c++", "clang++")
BASE_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden")
BUILD_SECONDS = 300


class NoCompilerError(RuntimeError):
    """No C++ compiler is on the PATH."""


class BuildError(RuntimeError):
    """The compiler refused the sources; the message holds what it said."""


def warn_of_slow_path(error: NoCompilerError | BuildError) -> None:
    """Say what it costs that nothing can be built here; Python shows it once in a process."""
    warnings.warn(
        f"{error}; the model and the grammars run without C++, many times slower. "
        "Install a recent g++.",
        RuntimeWarning,
        stacklevel=1,
    )


def cache_folder() -> Path:
    """Where models, kernels and the like are kept: $SGLANG_LANG_CACHE, or in the user's cache."""
    override = os.environ.get("SGLANG_LANG_CACHE")
    if override:
        return Path(override).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sglang_lang"


def build_shared_library(name: str, sources: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """Compile the sources once and return the path of the shared library.

    The library is found again by a hash of the sources, the headers beside them, the flags and the
    compiler, so a change of any of them builds anew. Several processes may build at once: each
    compiles to a file of its own, and renames it into place.

    Args:
        name: stem of the library's file name.
        sources: C++ files; headers (``*.h``) are looked for in their folders.
        flags: added to ``BASE_FLAGS``.

    Raises:
        NoCompilerError: there is neither a built library nor a compiler.
        BuildError: compilation failed.
    """
    compiler = _find_compiler()
    folder = cache_folder() / "native"
    library = folder / f"{name}-{_digest(compiler, sources, flags)}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}-") as scratch:
        objects = [Path(scratch) / f"{i}-{source.stem}.o" for i, source in enumerate(sources)]
        compile_command = [compiler, *BASE_FLAGS, *flags, "-c"]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            jobs = [
                pool.submit(_run, [*compile_command, str(source), "-o", str(target)])
                for source, target in zip(sources, objects, strict=True)
            ]
            for job in jobs:
                job.result()
        built = Path(scratch) / library.name
        _run([compiler, "-shared", *map(str, objects), "-o", str(built)])
        built.replace(library)
    return library


def _find_compiler() -> str:
    for candidate in COMPILERS:
        if path := shutil.which(candidate):
            return path
    raise NoCompilerError(f"no C++ compiler found; looked for {', '.join(COMPILERS)} on the PATH")


def _digest(compiler: str, sources: Sequence[Path], flags: Sequence[str]) -> str:
    resolved = Path(compiler).resolve()
    digest = hashlib.sha256()
    identity = (str(resolved), str(resolved.stat().st_mtime_ns), *BASE_FLAGS, *flags)
    digest.update("\0".join(identity).encode())
    for path in _inputs(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _inputs(sources: Sequence[Path]) -> Iterator[Path]:
    yield from sources
    for folder in sorted({source.parent for source in sources}):
        yield from sorted(folder.glob("*.h"))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} ran longer than {BUILD_SECONDS} seconds") from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")
