"""Fixtures that several folders of tests share."""

from __future__ import annotations

import pytest

from sglang_lang.runtime.checkpoints.embedded import fetch_embedded_model


@pytest.fixture(scope="session")
def embedded_model_path() -> str:
    """The embedded model's GGUF file; fetched into the user's cache the first time."""
    return str(fetch_embedded_model())
