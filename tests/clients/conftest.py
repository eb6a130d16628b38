"""One real server for the clients that others wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.server import running_server


@pytest.fixture(scope="session")
def openai_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL as OpenAI's clients take it."""
    files = tmp_path_factory.mktemp("files")
    with running_server("--files-dir", str(files), "--api-key", "sk-test") as server:
        yield f"{server.url}/v1"
