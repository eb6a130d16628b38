"""A checkpoint made for embedding, without a head: its vectors are those of transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .checkpoints import byte_tokenizer_files
from .server import running_server

pytestmark = pytest.mark.slow
TEXTS = ["a fox", "the fox has read every book in the forest " * 4, "Füchse"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As sentence-transformers saves Qwen3: the base model, pooled by its last token."""
    import torch
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("embedder")
    config = Qwen3Config(
        vocab_size=257,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        eos_token_id=256,
        bos_token_id=None,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    Qwen3Model(config).save_pretrained(made)
    byte_tokenizer_files(made)
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    return made


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with running_server("--model-path", str(folder), "--dtype", "float32") as server:
        with httpx.Client(base_url=server.url, timeout=60) as made:
            yield made


def reference(folder: Path, pooling: str) -> list[Any]:
    """transformers' vectors, scaled to length 1."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    vectors: list[Any] = []
    with torch.no_grad():
        for text in TEXTS:
            hidden = model(torch.tensor([list(text.encode())])).last_hidden_state[0]
            pooled = hidden.mean(0) if pooling == "mean" else hidden[-1]
            vectors.append((pooled / pooled.norm()).tolist())
    return vectors


@pytest.mark.parametrize("pooling", [None, "last", "mean"])
def test_vectors_are_those_of_transformers(
    client: httpx.Client, folder: Path, pooling: str | None
) -> None:
    body = {"input": TEXTS} | ({} if pooling is None else {"pooling": pooling})
    answer = client.post("/v1/embeddings", json=body).json()
    assert answer["trained_for_embedding"] is True
    assert answer["pooling"] == (pooling or "last")
    for entry, expected in zip(answer["data"], reference(folder, pooling or "last"), strict=True):
        assert entry["embedding"] == pytest.approx(expected, abs=1e-5)


def test_it_says_that_it_only_embeds(client: httpx.Client) -> None:
    card = client.get("/v1/models").json()["data"][0]["embedding"]
    assert card == {"pooling": "last", "dimensions": 64, "trained_for_embedding": True}
    assert client.get("/model_info").json()["is_generation"] is False
    assert client.get("/health_generate").status_code == 200
    refused = client.post("/v1/completions", json={"prompt": "a"})
    assert refused.status_code == 400 and "embeds" in refused.json()["error"]["message"]
