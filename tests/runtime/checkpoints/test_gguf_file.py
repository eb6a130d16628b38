"""The GGUF reader against files the ``gguf`` package writes, and against damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.runtime.checkpoints.gguf_file import BLOCK_FORMATS, GGUFFile
from sglang_lang.runtime.errors import ModelLoadError


def write_sample(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("answer", 42)
    writer.add_float64("pi", 3.25)
    writer.add_bool("yes", True)
    writer.add_string("text", "naïve 漢字")
    writer.add_array("words", ["a", "", "▁b"])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_tensor("first", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("second", np.arange(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("gguf") / "sample.gguf")


def test_metadata_and_tensors_are_read(sample: Path) -> None:
    file = GGUFFile(sample)
    metadata = file.metadata
    assert metadata["general.architecture"] == "llama"
    assert (metadata["answer"], metadata["pi"], metadata["yes"]) == (42, 3.25, True)
    assert metadata["text"] == "naïve 漢字"
    assert metadata["words"] == ["a", "", "▁b"]
    assert metadata["numbers"].tolist() == [1, -2, 3]
    first, second = file.tensors["first"], file.tensors["second"]
    assert first.shape == (2, 3) and first.format.name == "F32"
    assert file.raw(first).view(np.float32).tolist() == list(range(6))
    assert file.raw(second).view(np.float16).tolist() == list(range(5))


def test_block_formats_are_those_of_the_gguf_package() -> None:
    sizes = {int(kind): (kind.name, *size) for kind, size in GGML_QUANT_SIZES.items()}
    assert {kind: tuple(block) for kind, block in BLOCK_FORMATS.items()}.items() <= sizes.items()


def test_every_truncation_is_an_error(sample: Path, tmp_path: Path) -> None:
    data = sample.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(len(data) - 1 - 32):  # the last tensor may be followed by padding
        cut.write_bytes(data[:length])
        with pytest.raises(ModelLoadError):
            GGUFFile(cut)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1))
def test_damage_is_an_error_or_harmless(
    flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Flipped bytes never crash the reader, and no tensor reaches outside the file."""
    folder = tmp_path_factory.getbasetemp()
    original = folder / "original.gguf"
    if not original.exists():
        write_sample(original)
    data = bytearray(original.read_bytes())
    for position, bits in flips:
        data[position % len(data)] ^= bits
    damaged = folder / "damaged.gguf"
    damaged.write_bytes(data)
    try:
        file = GGUFFile(damaged)
    except ModelLoadError:
        return
    for tensor in file.tensors.values():
        assert file.raw(tensor).nbytes == tensor.nbytes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot read"),
        (b"PK\x03\x04" + bytes(100), "is not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "truncated or broken"),
    ],
    ids=["empty", "other format", "old version", "absurd count"],
)
def test_what_is_wrong_is_said(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelLoadError, match=message):
        GGUFFile(path)
