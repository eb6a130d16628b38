"""What deploy/ holds is what systemd understands, and names what the repository has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "sglang-lang.service").read_text()
    unit = tmp_path / "sglang-lang.service"
    unit.write_text(text.replace("/opt/sglang-lang/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_image_leaves_out_nothing_that_is_installed() -> None:
    left_out = (ROOT / ".dockerignore").read_text().split()
    needed = {"kernels", "radix_cache", "constrained", "runtime", "sglang_lang"}
    assert not (needed | {"pyproject.toml", "README.md", "LICENSE"}) & set(left_out)


def test_the_image_installs_the_torch_that_the_makefile_does() -> None:
    pinned = re.compile(r"torch==[\d.]+")
    dockerfile = pinned.findall((ROOT / "deploy" / "Dockerfile").read_text())
    assert set(dockerfile) == set(pinned.findall((ROOT / "Makefile").read_text()))
