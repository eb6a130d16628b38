"""Each token is scored once, and the settings stay as close to one another as the page says."""

from __future__ import annotations

import pytest

from benchmarks import perplexity
from sglang_lang.runtime.engine import Engine


def test_windows_share_no_token_and_are_whole() -> None:
    assert list(perplexity.windows(range(10), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("setting", "most"),
    [("gguf", 0.02), ("bfloat16, KV fp8", 0.03)],
)
def test_quality_of_a_page(setting: str, most: float, exact_nats: float) -> None:
    assert abs(_nats(setting) - exact_nats) < most


@pytest.fixture(scope="module")
def exact_nats() -> float:
    return _nats("float32")


def _nats(setting: str) -> float:
    flags = {"max_total_tokens": 1024, **perplexity.SETTINGS[setting]}
    text = perplexity.TEXT.read_text(encoding="utf-8")
    with Engine(log_level="error", **flags) as engine:
        ids = engine.get_tokenizer().encode(text)[:512]
        return perplexity.mean_nats(engine, ids, 256)
