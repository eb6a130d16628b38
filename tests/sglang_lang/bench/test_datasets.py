"""Prompts that depend on the seed only, with the lengths that were asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sglang_lang.bench.datasets import DATASETS, Settings
from sglang_lang.errors import CommandError

SETTINGS = Settings(
    num_prompts=20,
    random_input_len=30,
    random_output_len=10,
    gsp_num_groups=3,
    gsp_prompts_per_group=4,
    gsp_system_prompt_len=50,
    gsp_question_len=5,
)


@pytest.mark.parametrize("name", ["random", "generated-shared-prefix"])
def test_a_seed_fixes_the_prompts(name: str) -> None:
    make = DATASETS[name]
    assert make(SETTINGS) == make(SETTINGS) != make(replace(SETTINGS, seed=2))


def test_random_lengths_stay_in_their_range() -> None:
    items = DATASETS["random"](replace(SETTINGS, random_range_ratio=0.5))
    lengths = {len(item.prompt.split()) for item in items}
    assert len(items) == 20 and len(lengths) > 3
    assert min(lengths) >= 15 and max(lengths) <= 30
    assert all(5 <= item.output_len <= 10 for item in items)


def test_groups_share_their_system_prompt() -> None:
    items = DATASETS["generated-shared-prefix"](SETTINGS)
    systems = [item.prompt.split("\n\n")[0] for item in items]
    assert len(items) == 12 and len(set(systems)) == 3
    assert all(len(system.split()) == 50 for system in systems)


def test_files_are_read(tmp_path: Path) -> None:
    custom = tmp_path / "custom.jsonl"
    custom.write_text('{"prompt": "one", "output_len": 3}\n\n{"prompt": "two"}\n')
    items = DATASETS["custom"](replace(SETTINGS, path=custom))
    assert [(item.prompt, item.output_len) for item in items] == [("one", 3), ("two", 10)]
    turns = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "a b c d e"}]
    share = tmp_path / "sharegpt.json"
    share.write_text(json.dumps([{"conversations": turns}, {"conversations": turns[:1]}]))
    [item] = DATASETS["sharegpt"](replace(SETTINGS, path=share))
    assert (item.prompt, item.output_len) == ("hello", 5)


@pytest.mark.parametrize("text", [None, "{"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "x.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CommandError, match=r"x\.jsonl"):
        DATASETS["custom"](replace(SETTINGS, path=path))
    with pytest.raises(CommandError, match="--dataset-path"):
        DATASETS["sharegpt"](SETTINGS)
