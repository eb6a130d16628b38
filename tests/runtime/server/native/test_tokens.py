"""Text to tokens and back over an echoing scheduler."""

from __future__ import annotations

from typing import Any

import httpx

JSON = dict[str, Any]


async def test_tokens_go_there_and_back(client: httpx.AsyncClient) -> None:
    one = (await client.post("/tokenize", json={"prompt": "é"})).json()
    assert one == {"tokens": [195, 169], "count": 2, "max_model_len": 256}
    several = (await client.post("/tokenize", json={"prompt": ["a", "bc"]})).json()
    assert several["tokens"] == [[97], [98, 99]] and several["count"] == [1, 2]
    back = await client.post("/detokenize", json={"tokens": several["tokens"]})
    assert back.json() == {"text": ["a", "bc"]}
    wrong = await client.post("/detokenize", json={"tokens": [999]})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "tokens"
