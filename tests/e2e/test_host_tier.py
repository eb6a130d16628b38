"""The tier of evicted KV with the real model: same tokens, restarts, damage, other models."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from sglang_lang.runtime.engine import Engine
from sglang_lang.runtime.errors import ServerArgsError

from .server import running_server
from .texts import PROMPTS

pytestmark = pytest.mark.slow

GREEDY = {"temperature": 0.0, "max_new_tokens": 12, "ignore_eos": True}
STORY = "Once upon a time a fox met a crow that had found a piece of cheese. " * 12
SMALL_POOL = 512  # tokens: every prompt pushes the ones before out


def conversations() -> list[str]:
    return [prompt + STORY for prompt in PROMPTS[:4]] * 2


def generate(prompts: list[str], **settings: Any) -> tuple[list[list[int]], list[int]]:
    """Output ids and cached tokens of prompts that run one after another."""
    with Engine(dtype="float32", log_level="error", cpu_threads=2, **settings) as engine:
        outputs = [engine.generate(prompt, GREEDY) for prompt in prompts]
    cached = [output["meta_info"]["cached_tokens"] for output in outputs]
    return [output["output_ids"] for output in outputs], cached


@cache
def expected() -> tuple[list[list[int]], list[int]]:
    return generate(conversations(), max_total_tokens=SMALL_POOL)


@pytest.mark.parametrize("page_size", [1, 16, 64])
def test_same_tokens_from_the_tier_and_after_a_restart(tmp_path: Path, page_size: int) -> None:
    settings = {"max_total_tokens": SMALL_POOL, "page_size": page_size, "cache_dir": str(tmp_path)}
    tokens, without = expected()
    cold, cached = generate(conversations(), **settings)
    assert cold == tokens
    assert sum(cached[4:]) > sum(without[4:]) + 4 * 64  # the second round comes from the tier
    warm, cached = generate(conversations(), **settings)
    assert warm == tokens
    assert min(cached) >= 128


def blocks(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if len(file.name) == 64)


def test_damaged_files_are_misses(tmp_path: Path) -> None:
    tokens, _ = expected()
    _, cold = generate(conversations(), cache_dir=str(tmp_path))
    for i, file in enumerate(blocks(tmp_path)):
        data = bytearray(file.read_bytes())
        if i % 2:
            data[len(data) // 3] ^= 1
        else:
            del data[len(data) // 2 :]
        file.write_bytes(data)
    again, cached = generate(conversations()[:4], cache_dir=str(tmp_path))
    assert again == tokens[:4]
    assert cached == cold[:4]  # what the prompts share with one another
    _, cached = generate(conversations()[:4], cache_dir=str(tmp_path))
    assert min(cached) >= 128


def test_another_model_uses_none_of_it(tmp_path: Path) -> None:
    prompt = [STORY]
    generate(prompt, cache_dir=str(tmp_path))
    for other in ({"load_format": "dummy"}, {"page_size": 16}, {"kv_cache_dtype": "bfloat16"}):
        _, cached = generate(prompt, cache_dir=str(tmp_path), **other)
        assert cached == [0], other
    _, cached = generate(prompt, cache_dir=str(tmp_path))
    assert cached[0] >= 128


def test_the_files_stay_within_the_budget(tmp_path: Path) -> None:
    gib = 40 / 1024  # 40 MiB: 13 blocks of 64 tokens of 30 layers in float32
    generate(conversations(), cache_dir=str(tmp_path), kv_tier_size=gib)
    assert 0 < sum(file.stat().st_size for file in blocks(tmp_path)) <= gib * 2**30


def test_two_engines_cannot_share_a_folder(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"cache_dir": str(tmp_path), "log_level": "error"}
    with Engine(**settings), pytest.raises(ServerArgsError, match="in use"):
        Engine(**settings)


def test_a_server_finds_its_cache_again(tmp_path: Path) -> None:
    cached = []
    for _ in range(2):
        with running_server("--cache-dir", str(tmp_path), "--cpu-threads", "2") as server:
            body = {"text": STORY, "sampling_params": {"max_new_tokens": 2, "temperature": 0}}
            reply = httpx.post(f"{server.url}/generate", json=body, timeout=60).json()
            cached.append(reply["meta_info"]["cached_tokens"])
    assert cached[0] == 0
    assert cached[1] >= 128
