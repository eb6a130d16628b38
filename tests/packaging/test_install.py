"""The package as a user installs it: a wheel and an editable install in fresh environments.

Slow, and needs a package index for httpx and setuptools; the runtime's packages are borrowed from
the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.install, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("kernels", "radix_cache", "constrained", "runtime")
SOURCES = (*FOLDERS, "sglang_lang", "pyproject.toml", "README.md", "LICENSE")


def call(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = call(*command, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, links as links, so that builds leave nothing in the tree."""
    target = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, target)
    return target


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    probe = call(
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "httpx",
        "-d",
        folder / "x",
        cwd=folder,
    )
    if probe.returncode != 0:
        pytest.skip("no package index can be reached")
    succeed(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", checkout, "-w", folder, cwd=folder
    )
    [built] = folder.glob("*.whl")
    return built


def fresh_environment(folder: Path, *install: str | Path) -> Path:
    """A virtual environment with the given arguments of ``pip install``; returns its python."""
    succeed(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    succeed(python, "-m", "pip", "install", "-q", *install, cwd=folder.parent)
    return python


@pytest.fixture(scope="module")
def client(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment with the base install only."""
    return fresh_environment(tmp_path_factory.mktemp("client") / "venv", wheel)


def test_the_wheel_holds_every_file_under_one_root(wheel: Path, checkout: Path) -> None:
    packaged = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        ("" if folder == "sglang_lang" else "sglang_lang/") + path.relative_to(checkout).as_posix()
        for folder in (*FOLDERS, "sglang_lang")
        for path in (checkout / folder).rglob("*")
        if path.is_file()
    }
    assert expected <= packaged
    [metadata] = {name.split("/")[0] for name in packaged - expected}
    assert metadata.endswith(".dist-info")


def test_the_base_install_is_the_client(client: Path, tmp_path: Path) -> None:
    listed = succeed(client, "-m", "pip", "list", "--format", "freeze", cwd=tmp_path)
    names = {line.partition("==")[0] for line in listed.splitlines()}
    assert {"sglang-lang", "aiohttp", "httpx"} <= names
    assert names.isdisjoint({"torch", "numpy", "msgspec", "pyzmq", "starlette", "transformers"})
    succeed(client, "-c", "import sglang_lang as sgl; sgl.gen, sgl.RuntimeEndpoint", cwd=tmp_path)
    assert "memory" in succeed(client.parent / "sglang-lang", "doctor", cwd=tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "sglang_lang.launch_server"],
        ["-m", "sglang_lang.cli", "serve"],
        ["-m", "sglang_lang.cli", "generate", "Once"],
    ],
    ids=lambda command: " ".join(command[1:]),
)
def test_the_runtime_names_its_extra_when_missing(
    client: Path, tmp_path: Path, command: list[str]
) -> None:
    done = call(client, *command, cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "sglang-lang[runtime]" in line


def test_the_engine_names_its_extra_when_missing(client: Path, tmp_path: Path) -> None:
    done = call(client, "-c", "import sglang_lang as sgl; sgl.Engine()", cwd=tmp_path)
    assert done.returncode == 1
    assert "sglang-lang[runtime]" in done.stderr.strip().splitlines()[-1]


def test_the_installed_server_finds_its_flags(client: Path, tmp_path: Path) -> None:
    """With the runtime's packages beside it, borrowed from the environment of the tests."""
    borrowed = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    for command in (["sglang_lang.launch_server"], ["sglang_lang.cli", "serve"]):
        text = succeed(client, "-m", *command, "--help", cwd=tmp_path, PYTHONPATH=borrowed)
        assert "--model-path" in text
        assert "--schedule-policy" in text


def test_an_editable_install_runs_the_checkout(checkout: Path, tmp_path: Path, wheel: Path) -> None:
    """``wheel`` is asked for because it knows whether there is a package index."""
    python = fresh_environment(tmp_path / "venv", "-e", checkout)
    program = "import sglang_lang.runtime.errors as module; print(module.__file__)"
    for folder in (tmp_path, checkout):
        found = Path(succeed(python, "-c", program, cwd=folder).strip())
        assert found.resolve() == checkout / "runtime" / "errors.py"
