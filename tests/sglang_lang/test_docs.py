"""The programs of docs/language.md run as they are printed."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import sglang_lang as sgl
from sglang_lang.backends.base import Completion, Prompt
from sglang_lang.ir import GenOptions

from .scripted import ScriptedBackend

PAGE = Path(__file__).parents[2] / "docs" / "language.md"


class Obedient(ScriptedBackend):
    """Writes what the constraint asks for."""

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        self.script = lambda _: (
            '{"name": "Ada Lovelace", "born": 1815}'
            if options.json_schema
            else "6"
            if options.dtype is int
            else " words"
        )
        return await super().generate(prompt, options)


@pytest.fixture
def backend() -> Iterator[None]:
    sgl.set_default_backend(Obedient())
    yield
    sgl.set_default_backend(None)


@pytest.mark.usefixtures("backend")
def test_every_block_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In one file, since later blocks use the programs of earlier ones."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 5
    path = tmp_path / "blocks.py"
    path.write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(path))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(" words ")
    assert said[1] == "Ada Lovelace 1815 7"
    assert said[2] == "[' words', ' words', ' words']"
    assert said[3].startswith("False ")
