"""The JSON-Schema-Test-Suite for 2020-12: what is admitted must validate, and most is admitted.

The suite (MIT) is inside the source distribution of PyPI's ``jsonschema``; it is fetched once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sglang_lang.constrained.errors import GrammarError
from sglang_lang.kernels.native import cache_folder
from tests.constrained.byte_grammar import SPEC, admits, json_machine

RELEASE = "4.26.0"
REQUIRED_RIGHT = 320  # of 368 groups
FOLDER = "json/tests/draft2020-12"


@pytest.fixture(scope="module")
def suite() -> Path:
    """The folder of the draft's tests."""
    cache = cache_folder() / "json-schema-test-suite"
    root = cache / f"jsonschema-{RELEASE}"
    if not (root / FOLDER).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]
        command += ["jsonschema", "--dest", str(cache), f"jsonschema=={RELEASE}"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if found.returncode:
            pytest.skip(f"the suite cannot be fetched: {found.stderr.strip()[-200:]}")
        with tarfile.open(cache / f"jsonschema-{RELEASE}.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return root / FOLDER


def test_required_groups(suite: Path) -> None:
    outcomes = Counter(_outcome(group, SPEC) for group in _groups(suite.glob("*.json")))
    assert outcomes["under"] == 0
    assert outcomes["over"] <= 1  # a metaschema that switches validation off
    assert outcomes["right"] >= REQUIRED_RIGHT, outcomes


def test_optional_groups(suite: Path) -> None:
    files = [file for file in (suite / "optional").glob("*.json") if "format" not in file.name]
    outcomes = Counter(_outcome(group, SPEC) for group in _groups(files))
    assert outcomes["under"] == 0
    assert outcomes["right"] >= 40, outcomes


def test_formats_as_assertions(suite: Path) -> None:
    options = replace(SPEC, assert_formats=True)
    files = [
        suite / "optional" / "format-assertion.json",
        *(suite / "optional" / "format").glob("*.json"),
    ]
    outcomes = Counter(_outcome(group, options) for group in _groups(files))
    assert outcomes["under"] == 0
    assert outcomes["right"] >= 10, outcomes


def _groups(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in sorted(files):
        yield from json.loads(file.read_text())


def _outcome(group: dict[str, Any], options: Any) -> str:
    """Whether a group is right, admits too little (over) or too much (under), or is refused."""
    try:
        machine = json_machine(group["schema"], options)
    except GrammarError:
        return "refused"
    outcomes = set()
    for test in group["tests"]:
        try:
            text = json.dumps(test["data"], ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a lone surrogate: no text can hold it
            continue
        if admits(machine, text) != test["valid"]:
            outcomes.add("over" if test["valid"] else "under")
    return "under" if "under" in outcomes else "over" if outcomes else "right"
