"""The fused decoder stack against the same layers run one op at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from sglang_lang.kernels.dispatch import REFERENCE, Ops
from sglang_lang.kernels.ops.decoder_stack import DecoderLayerWeights, DecoderWeights

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INNER, LAYERS = 6, 2, 16, 48, 64, 3
SLOTS, MAX_CONTEXT = 300, 280


@dataclass(frozen=True)
class Model:
    """Random weights, from which every implementation packs its own layers."""

    dtype: torch.dtype = torch.float32
    head_norms: bool = False
    post_norms: bool = False
    bias: bool = False
    window: int | None = None
    soft_cap: float | None = None
    activation: Literal["silu", "gelu_tanh"] = "silu"

    def weights(self, ops: Ops) -> DecoderWeights:
        torch.manual_seed(0)
        table = torch.randn(MAX_CONTEXT, HEAD_DIM)
        return DecoderWeights(
            layers=[self._layer(ops, table) for _ in range(LAYERS)],
            final_norm=1 + 0.1 * torch.randn(HIDDEN), eps=1e-5, num_heads=HEADS,
            num_kv_heads=KV_HEADS, head_dim=HEAD_DIM, scale=0.25, soft_cap=self.soft_cap,
            activation=self.activation,
        )  # fmt: skip

    def _layer(self, ops: Ops, table: Tensor) -> DecoderLayerWeights:
        def linear(out_size: int, in_size: int) -> object:
            bias = torch.randn(out_size).to(self.dtype) if self.bias else None
            weight = torch.randn(out_size, in_size) * in_size**-0.5
            return ops.pack_linear(weight.to(self.dtype), bias)

        def norm(size: int, wanted: bool = True) -> Tensor | None:
            return 1 + 0.1 * torch.randn(size) if wanted else None

        return DecoderLayerWeights(
            attention_norm=norm(HIDDEN),  # type: ignore[arg-type]
            qkv=linear((HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN),  # type: ignore[arg-type]
            q_norm=norm(HEAD_DIM, self.head_norms),
            k_norm=norm(HEAD_DIM, self.head_norms),
            cos_sin=table,
            window=self.window,
            output=linear(HIDDEN, HEADS * HEAD_DIM),  # type: ignore[arg-type]
            post_attention_norm=norm(HIDDEN, self.post_norms),
            mlp_norm=norm(HIDDEN),  # type: ignore[arg-type]
            gate_up=linear(2 * INNER, HIDDEN),  # type: ignore[arg-type]
            down=linear(HIDDEN, INNER),  # type: ignore[arg-type]
            post_mlp_norm=norm(HIDDEN, self.post_norms),
        )


@dataclass(frozen=True)
class Step:
    """The tensors a stack takes behind ``hidden``, in its order."""

    positions: Tensor
    slots: Tensor
    k_caches: list[Tensor]
    v_caches: list[Tensor]
    req_to_token: Tensor
    req_pool_indices: Tensor
    seq_lens: Tensor
    query_start: Tensor

    def copy(self) -> Step:
        return replace(
            self,
            k_caches=[cache.clone() for cache in self.k_caches],
            v_caches=[cache.clone() for cache in self.v_caches],
        )


def make_step(lens: list[tuple[int, int]], dtype: torch.dtype) -> Step:
    """lens: (prefix, new tokens) of each request."""
    torch.manual_seed(1)
    table = (torch.randperm(SLOTS - 1) + 1)[: len(lens) * (SLOTS // len(lens) - 1)]
    table = table.view(len(lens), -1).int()
    new = [torch.arange(prefix, prefix + count) for prefix, count in lens]
    counts = torch.tensor([count for _, count in lens])
    return Step(
        positions=torch.cat(new),
        slots=torch.cat([table[b, positions].long() for b, positions in enumerate(new)]),
        k_caches=[torch.randn(SLOTS, KV_HEADS, HEAD_DIM).to(dtype) for _ in range(LAYERS)],
        v_caches=[torch.randn(SLOTS, KV_HEADS, HEAD_DIM).to(dtype) for _ in range(LAYERS)],
        req_to_token=table,
        req_pool_indices=torch.arange(len(lens), dtype=torch.int32),
        seq_lens=torch.tensor([prefix + count for prefix, count in lens], dtype=torch.int32),
        query_start=torch.cat((torch.zeros(1), counts.cumsum(0))).int(),
    )


def run_op_by_op(ops: Ops, weights: DecoderWeights, hidden: Tensor, step: Step) -> Tensor:
    act = ops.silu_and_mul if weights.activation == "silu" else ops.gelu_tanh_and_mul
    residual, eps = hidden.clone(), weights.eps
    for layer, k_cache, v_cache in zip(weights.layers, step.k_caches, step.v_caches, strict=True):
        heads = layer.qkv(ops.rms_norm(residual, layer.attention_norm, eps))
        heads = heads.view(len(hidden), -1, HEAD_DIM)
        split = torch.split(heads, [HEADS, KV_HEADS, KV_HEADS], dim=1)
        q, k, v = (part.contiguous() for part in split)
        if layer.q_norm is not None and layer.k_norm is not None:
            q = ops.rms_norm(q.view(-1, HEAD_DIM), layer.q_norm, eps).view(q.shape)
            k = ops.rms_norm(k.view(-1, HEAD_DIM), layer.k_norm, eps).view(k.shape)
        ops.rotary(q, k, step.positions, layer.cos_sin)
        ops.store_kv(k, v, k_cache, v_cache, step.slots)
        attended = ops.paged_attention(
            q, k_cache, v_cache, step.req_to_token, step.req_pool_indices, step.seq_lens,
            step.query_start, weights.scale, layer.window, weights.soft_cap,
        )  # fmt: skip
        residual += _normed(ops, layer.output(attended.flatten(1)), layer.post_attention_norm, eps)
        inner = act(layer.gate_up(ops.rms_norm(residual, layer.mlp_norm, eps)))
        residual += _normed(ops, layer.down(inner), layer.post_mlp_norm, eps)
    return ops.rms_norm(residual, weights.final_norm, eps)


def _normed(ops: Ops, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return x if weight is None else ops.rms_norm(x, weight, eps)


def run_fused(ops: Ops, weights: DecoderWeights, hidden: Tensor, step: Step) -> Tensor:
    assert ops.pack_decoder is not None
    stack = ops.pack_decoder(weights)
    assert stack is not None
    return stack(
        hidden, step.positions, step.slots, step.k_caches, step.v_caches, step.req_to_token,
        step.req_pool_indices, step.seq_lens, step.query_start,
    )  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        Model(),
        Model(dtype=torch.bfloat16),
        Model(bias=True),
        Model(head_norms=True, window=9),
        Model(head_norms=True, post_norms=True, soft_cap=5.0, activation="gelu_tanh"),
    ],
    ids=["llama", "llama-bf16", "qwen2", "qwen3-window", "gemma"],
)
@pytest.mark.parametrize(
    "lens", [[(20, 1)], [(20, 1), (0, 30), (3, 4), (60, 1)]], ids=["decode", "mixed"]
)
def test_the_stack_is_its_layers(ops: Ops, model: Model, lens: list[tuple[int, int]]) -> None:
    step = make_step(lens, model.dtype)
    fused_step = step.copy()
    hidden = torch.randn(int(step.query_start[-1]), HIDDEN).to(model.dtype)
    expected = run_op_by_op(REFERENCE, model.weights(REFERENCE), hidden, step)
    actual = run_fused(ops, model.weights(ops), hidden, fused_step)
    tolerance = 6e-2 if model.dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    for caches, fused in (
        (step.k_caches, fused_step.k_caches),
        (step.v_caches, fused_step.v_caches),
    ):
        for cache, wanted in zip(fused, caches, strict=True):
            torch.testing.assert_close(cache, wanted, rtol=tolerance, atol=tolerance)


def test_other_caches_may_follow(ops: Ops) -> None:
    model = Model()
    weights, step = model.weights(ops), make_step([(5, 2)], model.dtype)
    hidden = torch.randn(2, HIDDEN)
    assert ops.pack_decoder is not None
    stack = ops.pack_decoder(weights)
    assert stack is not None
    for run in (step.copy(), step.copy()):
        before = [cache.clone() for cache in run.k_caches]
        stack(
            hidden, run.positions, run.slots, run.k_caches, run.v_caches, run.req_to_token,
            run.req_pool_indices, run.seq_lens, run.query_start,
        )  # fmt: skip
        assert not torch.equal(run.k_caches[0], before[0])


def test_batch_mates_change_no_bit(ops: Ops) -> None:
    model = Model()
    weights, step = model.weights(ops), make_step([(20, 1), (0, 30), (60, 1)], model.dtype)
    hidden = torch.randn(32, HIDDEN)
    alone = replace(
        step.copy(), positions=step.positions[:1], slots=step.slots[:1],
        req_pool_indices=step.req_pool_indices[:1], seq_lens=step.seq_lens[:1],
        query_start=step.query_start[:2],
    )  # fmt: skip
    whole = run_fused(ops, weights, hidden, step)
    assert torch.equal(run_fused(ops, weights, hidden[:1], alone), whole[:1])


def test_an_inner_size_that_fills_no_panel_is_declined(ops: Ops) -> None:
    weights = Model().weights(ops)
    layer = weights.layers[0]
    odd = replace(
        layer,
        gate_up=ops.pack_linear(torch.randn(2 * 40, HIDDEN), None),
        down=ops.pack_linear(torch.randn(HIDDEN, 40), None),
    )
    assert ops.pack_decoder is not None
    assert ops.pack_decoder(replace(weights, layers=[odd])) is None
