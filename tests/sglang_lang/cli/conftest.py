"""A server whose model says the prompt back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.server.echo_server import EchoServer


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with EchoServer(api_key=("key",)) as started:
        yield started
