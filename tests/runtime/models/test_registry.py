"""load_model: what makes a checkpoint unfit for its architecture, and dummy weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.runtime.checkpoints.checkpoint import LoadFormat, open_checkpoint
from sglang_lang.runtime.checkpoints.config import FAMILIES
from sglang_lang.runtime.errors import ModelLoadError
from sglang_lang.runtime.models import registry
from sglang_lang.runtime.models.registry import CausalLM, Quantization, load_model

from .paged import PagedRunner
from .test_same_logits import make_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    make_model({"model_type": "llama"}, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """The saved model in one file, to be changed."""
    tensors: dict[str, torch.Tensor] = {}
    for shard in saved.glob("*.safetensors"):
        tensors |= load_file(shard)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    return tmp_path


def load(folder: Path, load_format: LoadFormat = "auto") -> CausalLM:
    checkpoint = open_checkpoint(str(folder), load_format)
    return load_model(checkpoint, load_ops(CPU, "reference"), torch.float32, CPU)


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    kept = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        kept.pop(name.replace("__", "."), None)
        if tensor is not None:
            kept[name.replace("__", ".")] = tensor
    save_file(kept, folder / "model.safetensors")


def test_missing_weight(folder: Path) -> None:
    change(folder, model__layers__1__mlp__up_proj__weight=None)
    with pytest.raises(ModelLoadError, match=r"model.layers.1.mlp.up_proj.weight is missing"):
        load(folder)


def test_unread_weight(folder: Path) -> None:
    change(folder, model__layers__0__self_attn__q_norm__weight=torch.ones(16))
    with pytest.raises(ModelLoadError, match=r"does not use: model.layers.0.self_attn.q_norm"):
        load(folder)


def test_wrong_shape(folder: Path) -> None:
    change(folder, model__norm__weight=torch.ones(65))
    with pytest.raises(ModelLoadError, match=r"model.norm.weight has shape \(65,\)"):
        load(folder)


def test_saved_buffers_are_ignored(folder: Path) -> None:
    change(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(8))
    load(folder)


def test_a_second_copy_of_a_tied_embedding_is_ignored(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    load(folder)


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_dummy_model_runs(model_type: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    settings = {"model_type": model_type, "sliding_window": 8, "layer_types": None}
    (folder / "config.json").write_text(json.dumps(config | settings))
    checkpoint = open_checkpoint(str(folder), "dummy")
    model = load_model(checkpoint, load_ops(CPU, "reference"), torch.bfloat16, CPU)
    (logits,) = PagedRunner(model, checkpoint.config, torch.bfloat16, 1).extend([[1, 2, 3]])
    assert logits.shape == (3, checkpoint.config.vocab_size)
    assert logits.isfinite().all()


def test_a_shorter_context_needs_smaller_tables(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    ops = load_ops(CPU, "reference")
    short = load_model(checkpoint, ops, torch.float32, CPU, context_len=8)
    runner = PagedRunner(short, checkpoint.config, torch.float32, 1)
    runner.extend([[1] * 8])
    with pytest.raises(IndexError):
        runner.extend([[1]])


@pytest.mark.parametrize("quantization", ["gguf", "int8", "int4"])
def test_quantised_weights_need_bfloat16(folder: Path, quantization: Quantization) -> None:
    checkpoint, ops = open_checkpoint(str(folder)), load_ops(CPU, "reference")
    with pytest.raises(ModelLoadError, match="in bfloat16 on a CPU, not in torch.float32 on cpu"):
        load_model(checkpoint, ops, torch.float32, CPU, quantization=quantization)


def test_every_family_is_a_file() -> None:
    files = {path.stem for path in Path(registry.__file__).parent.glob("*.py")}
    assert set(FAMILIES.values()) <= files
