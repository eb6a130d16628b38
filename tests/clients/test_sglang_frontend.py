"""What upstream SGLang's ``RuntimeEndpoint`` (0.5.23) sends to a server, call by call.

The package itself needs a GPU's dependencies to be installed whole, so its calls are written out:
construction, ``cache_prefix``, ``commit_lazy_operations``, ``generate``, ``generate_stream``,
``select`` with its three scoring methods, ``flush_cache``, ``get_server_info``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.clients]

TEXT = "The capital of France is"
PARAMS: Any = {
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "max_new_tokens": 8,
    "min_new_tokens": 0,
    "n": 1,
    "stop": [],
    "stop_token_ids": [],
    "stop_regex": [],
    "temperature": 0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "ignore_eos": False,
    "regex": None,
    "json_schema": None,
}


@pytest.fixture(scope="module")
def client(openai_url: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer sk-test"}
    url = openai_url.removesuffix("/v1")
    with httpx.Client(base_url=url, headers=headers, timeout=60) as made:
        yield made


def generate(client: httpx.Client, **body: Any) -> Any:
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_an_endpoint_learns_the_model_and_the_server(client: httpx.Client) -> None:
    assert client.get("/get_model_info").json()["model_path"]
    assert client.get("/server_info").json()["max_total_num_tokens"] > 0
    assert client.post("/flush_cache").status_code == 200


def test_a_prefix_is_cached_by_generating_nothing(client: httpx.Client) -> None:
    prefix = "A prefix that several programs begin with. " * 6
    generate(client, text=prefix, sampling_params={"max_new_tokens": 0})
    again = generate(client, text=f"{prefix}Now", sampling_params=PARAMS)
    assert again["meta_info"]["cached_tokens"] > 40


def test_gen_whole_and_streamed(client: httpx.Client) -> None:
    whole = generate(client, text=TEXT, sampling_params=PARAMS)
    pos, text = 0, ""
    body = {"text": TEXT, "sampling_params": PARAMS, "stream": True}
    with client.stream("POST", "/generate", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data:") and line != "data: [DONE]":
                chunk = json.loads(line[5:].strip("\n"))["text"][pos:]
                pos += len(chunk)
                text += chunk
    assert text == whole["text"]


@pytest.mark.parametrize("regex", [r"[-+]?[0-9]+[ \n]*", "(True|False)"])
def test_a_dtype_is_a_regex(client: httpx.Client, regex: str) -> None:
    params = PARAMS | {"regex": regex, "stop": [" ", "\n"]}
    text = generate(client, text="Answer: ", sampling_params=params)["text"]
    assert text in ("True", "False") or int(text) is not None


def test_select_finds_the_likeliest_choice(client: httpx.Client) -> None:
    choices = [" London", " Paris", " Tokyo"]
    prefilled = generate(client, text=TEXT, sampling_params={"max_new_tokens": 0})
    start = max(prefilled["meta_info"]["prompt_tokens"] - 2, 0)
    scored = generate(
        client,
        text=[TEXT + choice for choice in choices],
        sampling_params={"max_new_tokens": 0, "temperature": 0},
        return_logprob=True,
        return_text_in_logprobs=True,
        logprob_start_len=start,
    )
    rows = [one["meta_info"]["input_token_logprobs"] for one in scored]
    assert [one["meta_info"]["output_token_logprobs"] for one in scored] == [[], [], []]
    means = []
    for row in rows:
        values = [entry[0] for entry in row if entry[0]]
        means.append(sum(values) / len(values))
    assert means.index(max(means)) == 1
    assert all(isinstance(entry[2], str) for row in rows for entry in row)
    ids = [[entry[1] for entry in row] for row in rows]
    alone = generate(
        client, input_ids=ids, sampling_params={"max_new_tokens": 0}, return_logprob=True
    )
    unconditional = [one["meta_info"]["input_token_logprobs"] for one in alone]
    assert [[entry[1] for entry in row] for row in unconditional] == ids
    assert all(row[0][0] is None for row in unconditional)
