"""The OpenAPI page says what the routes read, and nothing it says finds a 500."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
import schemathesis.specs.openapi.schemas  # else imported in the first test, which is slow
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok

from sglang_lang.runtime.server.app import ROUTES
from sglang_lang.runtime.server.openapi import document
from sglang_lang.runtime.server.routing import Operation

from .echo_server import EchoServer

OPERATIONS = [operation for module in ROUTES for operation in module.router.operations]
EXAMPLES = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
READS = re.compile(r"await read(?:_\w+)?\(request, (\w+)\)")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.path)
def test_the_body_on_the_page_is_the_body_that_is_read(operation: Operation) -> None:
    read = READS.search(inspect.getsource(operation.endpoint))
    assert (operation.body.__name__ if operation.body else None) == (read[1] if read else None)


def test_every_route_and_its_fields_are_on_the_page() -> None:
    page = document(OPERATIONS, with_keys=True)
    assert set(page["paths"]) >= {"/generate", "/v1/chat/completions", "/v1/models/{name}"}
    ref = page["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    component = page["components"]["schemas"][ref["$ref"].rpartition("/")[2]]
    assert {"text", "input_ids", "sampling_params", "stream"} <= set(component["properties"])
    assert page["paths"]["/generate"]["post"]["security"] == [{"bearer": []}]
    assert "security" not in page["paths"]["/health"]["get"]
    ids = [op["operationId"] for path in page["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with EchoServer() as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_schemathesis_finds_no_500(server: EchoServer, mode: schemathesis.GenerationMode) -> None:
    """Bodies and parameters made from the page: right ones, and wrong ones."""
    page = httpx.get(f"{server.url}/openapi.json").json()
    calls = 0
    with requests.Session() as session:
        for found in schemathesis.openapi.from_dict(page).get_all_operations():
            assert isinstance(found, Ok), found
            strategy = found.ok().as_strategy(mode)

            @settings(EXAMPLES)
            @given(case=strategy)
            def call(case: schemathesis.Case[Any]) -> None:
                nonlocal calls
                response = case.call(base_url=server.url, session=session, timeout=20)
                assert response.status_code < 500, response.text
                calls += 1

            try:
                call()
            except Unsatisfiable:
                continue  # nothing can be wrong about a route without parameters
    assert calls > 100
