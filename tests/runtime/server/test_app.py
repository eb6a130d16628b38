"""Paths and methods that are no routes."""

from __future__ import annotations

import httpx
import pytest


async def test_a_wrong_method_names_the_right_ones(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "method_not_supported")


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/nothing", {"error": {"type": "invalid_request_error"}}),
        ("/v1/messages/nothing", {"type": "error", "error": {"type": "not_found_error"}}),
        ("/api/nothing", {"error": "GET /api/nothing: Not Found"}),
    ],
)
async def test_an_unknown_path_is_404_in_the_shape_of_its_protocol(
    client: httpx.AsyncClient, path: str, shape: dict[str, object]
) -> None:
    response = await client.get(path)
    answer = response.json()
    assert response.status_code == 404
    for name, value in shape.items():
        found = answer[name]
        assert found == value or (isinstance(value, dict) and value.items() <= found.items())
