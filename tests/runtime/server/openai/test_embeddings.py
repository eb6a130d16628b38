"""/v1/embeddings over an echoing scheduler, whose vectors are the first two token ids."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from sglang_lang.runtime.checkpoints.embedding_config import EmbeddingConfig
from sglang_lang.runtime.server.context import ServerContext
from sglang_lang.runtime.server.openai.embeddings import EmbeddingBody
from sglang_lang.runtime.server_args import ServerArgs
from tests.runtime.server.conftest import CONFIG
from tests.runtime.text.echo import Side

JSON = dict[str, Any]


async def test_vectors_have_length_one_in_the_order_of_the_inputs(
    client: httpx.AsyncClient,
) -> None:
    body: JSON = {"input": [[3, 4, 9], [5, 12]], "model": "echo"}
    answer = (await client.post("/v1/embeddings", json=body)).json()
    vectors = [entry["embedding"] for entry in answer["data"]]
    assert vectors[0] == pytest.approx([0.6, 0.8])
    assert vectors[1] == pytest.approx([5 / 13, 12 / 13])
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == 5
    assert (answer["pooling"], answer["trained_for_embedding"]) == ("mean", False)


async def test_base64_is_the_same_vector(client: httpx.AsyncClient) -> None:
    body: JSON = {"input": [3, 4], "encoding_format": "base64"}
    [entry] = (await client.post("/v1/embeddings", json=body)).json()["data"]
    vector = np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4")
    assert vector == pytest.approx([0.6, 0.8])


async def test_the_pooling_is_the_requests_or_the_servers(
    client: httpx.AsyncClient, connect: Any, side: Side
) -> None:
    await client.post("/v1/embeddings", json={"input": "ab"})
    await client.post("/v1/embeddings", json={"input": "ab", "pooling": "last"})
    async with connect(pooling="last") as other:
        await other.post("/v1/embeddings", json={"input": "ab"})
    assert [r.pooling for r in side.scheduler.requests] == ["mean", "last", "last"]
    assert all(r.sampling_params.max_new_tokens == 0 for r in side.scheduler.requests)


BAD: list[tuple[JSON, str]] = [
    ({}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", 1]}, "input"),
    ({"input": [300]}, "input"),
    ({"input": "a" * 300}, "input"),
    ({"input": ["a"] * 2049}, "input"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ({"input": "a", "dimensions": 4}, "dimensions"),
    ({"input": "a", "pooling": "cls"}, "pooling"),
]


@pytest.mark.parametrize(("body", "param"), BAD, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_embedded_is_refused_by_name(
    client: httpx.AsyncClient, body: JSON, param: str
) -> None:
    response = await client.post("/v1/embeddings", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_shorter_vectors_of_a_model_trained_for_them(side: Side) -> None:
    config = replace(CONFIG, embedding=EmbeddingConfig("last", matryoshka=True))
    context = ServerContext(ServerArgs(), side.manager, config, "echo")
    EmbeddingBody(input="a", dimensions=4).check(context)
    assert context.pooling == "last"


def test_a_checkpoint_says_how_it_is_pooled() -> None:
    assert EmbeddingConfig.from_hf({}, {}).pooling is None
    last = {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}
    assert EmbeddingConfig.from_hf({"is_matryoshka": True}, last) == EmbeddingConfig("last", True)
    assert EmbeddingConfig.from_gguf(1).pooling == "mean"
    assert EmbeddingConfig.from_gguf(2).pooling is None
