"""AWQ and GPTQ checkpoints, packed here value by value, give the matrices they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sglang_lang.kernels.block_weight import BlockWeight
from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.runtime.checkpoints.checkpoint import open_checkpoint
from sglang_lang.runtime.checkpoints.packed_config import PackedConfig
from sglang_lang.runtime.checkpoints.weights import Weights
from sglang_lang.runtime.errors import ModelLoadError

from .test_config import LLAMA

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 8, "version": "gemm"}
OUT, IN, GROUPS = 24, 32, 4


def pack(values: Tensor, bits: int, order: list[int]) -> Tensor:
    """[rows, n] -> [rows, n * bits / 32] int32; value order[i] of a word at bit i * bits."""
    rows = []
    for row in values.view(len(values), -1, len(order)).tolist():
        words = [sum(word[column] << (i * bits) for i, column in enumerate(order)) for word in row]
        rows.append([word - (1 << 32) if word >= 1 << 31 else word for word in words])
    return torch.tensor(rows, dtype=torch.int32)


def random_layer(bits: int, groups: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values [in, out], zeros and scales [groups, out], and the matrix [out, in] they stand for."""
    torch.manual_seed(bits)
    values = torch.randint(0, 1 << bits, (IN, OUT))
    zeros = torch.randint(1, 1 << bits, (GROUPS, OUT))
    scales = torch.rand(GROUPS, OUT).half()
    matrix = [
        [float(scales[groups[k], n]) * int(values[k, n] - zeros[groups[k], n]) for k in range(IN)]
        for n in range(OUT)
    ]
    return values, zeros, scales, torch.tensor(matrix)


def read(folder: Path, quantization: dict[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    """The matrix of layer ``a`` of a checkpoint that holds nothing else but a norm."""
    (folder / "config.json").write_text(json.dumps(LLAMA | {"quantization_config": quantization}))
    stored = {f"a.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(stored | {"norm.weight": torch.ones(3)}, folder / "model.safetensors")
    source = open_checkpoint(str(folder)).weights(torch.float32)
    assert source.names() == {"a.weight", "norm.weight"}
    weights = Weights(source, torch.float32, torch.device("cpu"))
    assert weights.take("norm.weight", 3).tolist() == [1.0] * 3
    matrix = weights.take("a.weight", OUT, IN)
    weights.check_all_read()
    return matrix


def test_awq(tmp_path: Path) -> None:
    values, zeros, scales, expected = random_layer(4, torch.arange(IN) // 8)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    tensors = {"qweight": pack(values, 4, order), "qzeros": pack(zeros, 4, order), "scales": scales}
    assert torch.equal(read(tmp_path, AWQ, tensors), expected)


@pytest.mark.parametrize("sorted_by_importance", [False, True])
@pytest.mark.parametrize(("checkpoint_format", "offset"), [("gptq", 1), ("gptq_v2", 0)])
@pytest.mark.parametrize("bits", [4, 8])
def test_gptq(
    tmp_path: Path, bits: int, checkpoint_format: str, offset: int, sorted_by_importance: bool
) -> None:
    groups = torch.arange(IN) // 8
    if sorted_by_importance:
        groups = groups[torch.randperm(IN, generator=torch.Generator().manual_seed(0))]
    values, zeros, scales, expected = random_layer(bits, groups)
    order = list(range(32 // bits))
    tensors = {
        "qweight": pack(values.T, bits, order).T,
        "qzeros": pack(zeros - offset, bits, order),
        "scales": scales,
    }
    if sorted_by_importance:
        tensors["g_idx"] = groups.int()
    quantization = {"quant_method": "gptq", "bits": bits, "checkpoint_format": checkpoint_format}
    assert torch.equal(read(tmp_path, quantization, tensors), expected)


@pytest.mark.parametrize("zero", [None, 8], ids=["any zeros", "one zero"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_groups_of_whole_blocks_can_stay_packed(
    tmp_path: Path, bits: int, zero: int | None
) -> None:
    torch.manual_seed(bits)
    out = 32
    values = torch.randint(0, 1 << bits, (2 * 64, out))
    zeros = torch.randint(1, 1 << bits, (2, out))
    zeros = zeros if zero is None else torch.full_like(zeros, min(zero, (1 << bits) - 1))
    scales, order = torch.rand(2, out).half(), list(range(32 // bits))
    tensors = {
        "a.qweight": pack(values.T, bits, order).T,
        "a.qzeros": pack(zeros - 1, bits, order),
        "a.scales": scales,
    }
    config = LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": bits}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({k: t.contiguous() for k, t in tensors.items()}, tmp_path / "model.safetensors")
    kept = (
        open_checkpoint(str(tmp_path))
        .weights(torch.bfloat16, "gptq")
        .read("a.weight", (out, 2 * 64))
    )
    assert isinstance(kept, BlockWeight)
    assert (kept.minimums is None) == (zero is not None)
    groups = torch.arange(2 * 64) // 64
    expected = ((values - zeros[groups]) * scales.float()[groups]).T
    torch.testing.assert_close(kept.dequantize(), expected)
    load_ops(torch.device("cpu")).pack_linear(kept, None)(torch.ones(1, 2 * 64).bfloat16())


def test_groups_out_of_order_become_dense(tmp_path: Path) -> None:
    tensors = {
        "a.qweight": torch.zeros(8, OUT, dtype=torch.int32),
        "a.qzeros": torch.zeros(2, OUT // 8, dtype=torch.int32),
        "a.scales": torch.ones(2, OUT),
        "a.g_idx": (torch.arange(64) % 2).int(),
    }
    quantization = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"quantization_config": quantization}))
    save_file(tensors, tmp_path / "model.safetensors")
    source = open_checkpoint(str(tmp_path)).weights(torch.bfloat16, "gptq")
    assert isinstance(source.read("a.weight", (OUT, 64)), Tensor)


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"quantization_config": AWQ}))
    with pytest.raises(ModelLoadError, match="holds awq weights, not gptq"):
        open_checkpoint(str(tmp_path)).weights(torch.bfloat16, "gptq")


def test_a_truncated_layer_is_named(tmp_path: Path) -> None:
    words = torch.zeros(IN - 8, OUT // 8, dtype=torch.int32)
    tensors = {
        "qweight": words,
        "qzeros": words[:GROUPS].clone(),
        "scales": torch.ones(GROUPS, OUT),
    }
    with pytest.raises(ModelLoadError, match=r"a\.qweight .* must be int32 of \(32, 3\)"):
        read(tmp_path, AWQ, tensors)


def test_a_group_without_a_scale_is_named(tmp_path: Path) -> None:
    tensors = {
        "qweight": torch.zeros(IN // 8, OUT, dtype=torch.int32),
        "qzeros": torch.zeros(GROUPS, OUT // 8, dtype=torch.int32),
        "scales": torch.ones(GROUPS, OUT),
        "g_idx": torch.full((IN,), GROUPS, dtype=torch.int32),
    }
    with pytest.raises(ModelLoadError, match=r"a\.g_idx names a group that has no scale"):
        read(tmp_path, {"quant_method": "gptq", "bits": 4}, tensors)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "hqq"}, "'hqq' is not supported"),
        ({"quant_method": "gptq", "bits": 3}, "gptq weights of 3 bits"),
        (AWQ | {"version": "marlin"}, "AWQ version 'marlin'"),
        ("awq", "is no object"),
    ],
)
def test_what_is_not_read_is_named(quantization: object, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        PackedConfig.from_hf({"quantization_config": quantization})
