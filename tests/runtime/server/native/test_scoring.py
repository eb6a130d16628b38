"""Scores over an echoing scheduler, whose logprob of token i is -i."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

JSON = dict[str, Any]
BODY: JSON = {"query": "a", "items": ["b", "c"], "label_token_ids": [2, 1]}


async def test_labels_are_scored_in_their_order(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/score", json=BODY | {"return_token_logprobs": True})).json()
    assert answer["token_logprobs"] == [[-2.0, -1.0]] * 2
    assert answer["scores"][0] == pytest.approx([math.exp(-2), math.exp(-1)])
    shares = (await client.post("/v1/score", json=BODY | {"apply_softmax": True})).json()["scores"]
    assert shares[0] == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ({"label_token_ids": []}, "label_token_ids"),
        ({"label_token_ids": [999]}, "label_token_ids"),
        ({"items": []}, "items"),
        ({"items": [[1]]}, "items"),
        ({"temperature": 0}, "temperature"),
        ({"score_extraction_token": 3}, "score_extraction_token"),
    ],
)
async def test_what_cannot_be_scored(client: httpx.AsyncClient, field: JSON, param: str) -> None:
    response = await client.post("/v1/score", json=BODY | field)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
