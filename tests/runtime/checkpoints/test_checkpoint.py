"""open_checkpoint: what is found where, and one clear line where nothing is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sglang_lang.runtime.checkpoints import safetensors_weights
from sglang_lang.runtime.checkpoints.checkpoint import LoadFormat, open_checkpoint
from sglang_lang.runtime.checkpoints.weights import Weights
from sglang_lang.runtime.errors import ModelLoadError

from .test_config import LLAMA

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with two shards that hold two weights."""
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    save_file({"a": torch.ones(2, 3)}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(4)}, folder / "model-00002-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    index["weight_map"]["b"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_folder_is_named_after_its_last_part(folder: Path) -> None:
    checkpoint = open_checkpoint(f"{folder}/")
    assert checkpoint.name == "tiny-llama"
    assert checkpoint.config.num_layers == LLAMA["num_hidden_layers"]


def test_shards_are_read(folder: Path) -> None:
    source = open_checkpoint(str(folder)).weights(torch.float32)
    assert source.names() == {"a", "b"}
    assert Weights(source, torch.float32, CPU).take("a", 2, 3).tolist() == [[1.0] * 3] * 2


def test_a_view_outlives_the_file_it_was_read_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors_weights, "REOPEN_BYTES", 0)
    weights = Weights(open_checkpoint(str(folder)).weights(torch.float32), torch.float32, CPU)
    first = weights.take("a", 2, 3)
    assert [weights.take("b", 4).tolist() for _ in range(2)] == [[0.0] * 4] * 2
    assert torch.equal(first, weights.take("a", 2, 3))


def test_the_authors_own_copy_of_the_weights_is_not_read(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    save_file({"tok_embeddings": torch.ones(1)}, folder / "consolidated.safetensors")
    assert open_checkpoint(str(folder)).weights(torch.float32).names() == {"a"}


def test_embedded_model(embedded_model_path: str) -> None:
    checkpoint = open_checkpoint(None)
    assert checkpoint.name == "SmolLM2-135M-Instruct.Q4_1"
    assert checkpoint.config.hidden_size == 576
    assert open_checkpoint(embedded_model_path).config == checkpoint.config


def test_opening_and_tokenising_needs_no_torch(embedded_model_path: str) -> None:
    program = (
        "import sys; from sglang_lang.runtime.checkpoints.checkpoint import open_checkpoint; "
        f"tokenizer = open_checkpoint({embedded_model_path!r}).tokenizer(); "
        "tokenizer.render_chat([{'role': 'user', 'content': 'hi'}]); tokenizer.token_bytes; "
        "assert not {'torch', 'transformers', 'gguf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_dummy_weights_are_the_same_each_time_and_differ_by_name(folder: Path) -> None:
    def read(name: str) -> torch.Tensor:
        source = open_checkpoint(str(folder), "dummy").weights(torch.float32)
        return Weights(source, torch.float32, CPU).take(name, 8, 8)

    assert torch.equal(read("model.x.weight"), read("model.x.weight"))
    assert not torch.equal(read("model.x.weight"), read("model.y.weight"))


def test_dummy_needs_no_weight_files(folder: Path) -> None:
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    source = open_checkpoint(str(folder), "dummy").weights(torch.bfloat16)
    assert Weights(source, torch.bfloat16, CPU).take("x", 5).shape == (5,)


@pytest.mark.parametrize("load_format", ["auto", "dummy"])
def test_plain_weights_are_not_quantised(folder: Path, load_format: LoadFormat) -> None:
    with pytest.raises(ModelLoadError, match=r"holds plain weights, not gguf|not quantised"):
        open_checkpoint(str(folder), load_format).weights(torch.bfloat16, "gguf")


@pytest.mark.parametrize(
    ("path", "load_format", "message"),
    [
        ("/no/such/model", "auto", "'/no/such/model': no such file or folder"),
        ("no-such-model", "auto", "'no-such-model': no such file or folder"),
        (".", "auto", "holds no config.json"),
        (".", "gguf", "load format 'gguf' does not fit"),
    ],
)
def test_a_wrong_path_is_named(
    path: str,
    load_format: LoadFormat,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadError, match=message):
        open_checkpoint(path, load_format)


def test_hub_name_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match="'nobody/nothing' is no file or folder here"):
        open_checkpoint("nobody/nothing")


def test_truncated_shard(folder: Path) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(ModelLoadError, match="00001-of-00002.safetensors is truncated"):
        open_checkpoint(str(folder)).weights(torch.float32)


def test_missing_shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="00002-of-00002.safetensors is named by the index"):
        open_checkpoint(str(folder)).weights(torch.float32)


def test_index_may_not_point_outside(folder: Path) -> None:
    index = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"a": torch.ones(1)}, folder.parent / "elsewhere.safetensors")
    with pytest.raises(ModelLoadError, match="is named by the index"):
        open_checkpoint(str(folder)).weights(torch.float32)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ModelLoadError, match="pickled weights are not read"):
        open_checkpoint(str(tmp_path)).weights(torch.float32)


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_broken_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelLoadError, match="config.json"):
        open_checkpoint(str(folder))


def test_weights_keep_account(folder: Path) -> None:
    weights = Weights(open_checkpoint(str(folder)).weights(torch.float32), torch.bfloat16, CPU)
    assert weights.take("a", 2, 3).dtype is torch.bfloat16
    assert weights.take("a", 2, 3, dtype=torch.float32).dtype is torch.float32
    with pytest.raises(ModelLoadError, match="1 weights this architecture does not use: b"):
        weights.check_all_read()
    with pytest.raises(ModelLoadError, match=r"weight b has shape \(4,\), the config implies"):
        weights.take("b", 5)
    with pytest.raises(ModelLoadError, match="weight b.c is missing"):
        weights.scope("b").take("c", 1)
    weights.take("b", 4)
    weights.check_all_read()
