"""The output projection."""

from __future__ import annotations

import torch

from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.runtime.layers.linear import merge_linear
from sglang_lang.runtime.layers.logits import LogitsHead

OPS = load_ops(torch.device("cpu"), "reference")


def test_merged_layers_stand_side_by_side() -> None:
    weights = [torch.randn(3, 5), torch.randn(2, 5)]
    biases = [torch.randn(3), torch.randn(2)]
    x = torch.randn(4, 5)
    parts = [x @ weight.T + bias for weight, bias in zip(weights, biases, strict=True)]
    merged = merge_linear(OPS, weights, biases)
    torch.testing.assert_close(merged(x), torch.cat(parts, dim=1))


def test_logits_are_float32_and_capped() -> None:
    hidden = torch.randn(4, 5).bfloat16()
    weight = torch.randn(7, 5).bfloat16() * 10
    plain = LogitsHead(merge_linear(OPS, [weight]))(hidden)
    capped = LogitsHead(merge_linear(OPS, [weight]), soft_cap=3.0)(hidden)
    assert plain.dtype is torch.float32 and plain.abs().max() > 3.0
    torch.testing.assert_close(capped, 3.0 * torch.tanh(plain / 3.0))
