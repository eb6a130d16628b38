"""The references against torch's own functions and against formulas written out per element."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sglang_lang.kernels.ops import (
    add_rms_norm,
    gelu_tanh_and_mul,
    linear,
    paged_attention,
    rms_norm,
    rotary,
    sample,
    silu_and_mul,
    store_kv,
    token_bitmask,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_is_torchs(dtype: torch.dtype) -> None:
    x, weight = torch.randn(5, 48).to(dtype), torch.randn(48).to(dtype)
    expected = F.rms_norm(x.float(), (48,), weight.float(), 1e-5)
    torch.testing.assert_close(rms_norm.reference(x, weight, 1e-5), expected.to(dtype))


def test_add_rms_norm_updates_the_residual_in_place() -> None:
    x, residual, weight = torch.randn(3, 16), torch.randn(3, 16), torch.randn(16)
    total = x + residual
    normed, returned = add_rms_norm.reference(x, residual, weight, 1e-6)
    assert returned is residual
    torch.testing.assert_close(residual, total)
    torch.testing.assert_close(normed, F.rms_norm(total, (16,), weight, 1e-6))


@pytest.mark.parametrize("rot_dim", [16, 10])
def test_rotary_turns_each_pair_by_its_angle(rot_dim: int) -> None:
    half = rot_dim // 2
    positions = torch.tensor([0, 3, 11])
    angles = torch.arange(12).unsqueeze(1) * 100.0 ** (-torch.arange(half) / half)
    q, k = torch.randn(3, 4, 16), torch.randn(3, 2, 16)
    expected = [_rotate(heads, angles[positions], half) for heads in (q, k)]
    rotary.reference(q, k, positions, torch.cat((angles.cos(), angles.sin()), -1))
    torch.testing.assert_close(q, expected[0])
    torch.testing.assert_close(k, expected[1])


def _rotate(heads: Tensor, angles: Tensor, half: int) -> Tensor:
    """Multiply the complex numbers (x[i], x[i + half]) by e^(i angle)."""
    turn = torch.polar(torch.ones_like(angles), angles).unsqueeze(1)
    turned = torch.complex(heads[..., :half], heads[..., half : 2 * half]) * turn
    return torch.cat((turned.real, turned.imag, heads[..., 2 * half :]), -1)


def test_gated_activations_take_the_gate_first() -> None:
    x = torch.randn(3, 20)
    gate, up = x[:, :10], x[:, 10:]
    torch.testing.assert_close(silu_and_mul.reference(x), gate * torch.sigmoid(gate) * up)
    inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
    torch.testing.assert_close(
        gelu_tanh_and_mul.reference(x), 0.5 * gate * (1 + torch.tanh(inner)) * up
    )


def test_store_kv_writes_the_slots_and_no_others() -> None:
    k, v = torch.randn(2, 1, 4), torch.randn(2, 1, 4)
    k_cache, v_cache = torch.zeros(5, 1, 4), torch.zeros(5, 1, 4)
    store_kv.reference(k, v, k_cache, v_cache, torch.tensor([3, 1]))
    assert torch.equal(k_cache[[3, 1]], k) and torch.equal(v_cache[[3, 1]], v)
    assert not k_cache[[0, 2, 4]].any() and not v_cache[[0, 2, 4]].any()


@pytest.mark.parametrize("window", [None, 1, 5, 100])
def test_paged_attention_is_scaled_dot_product_attention(window: int | None) -> None:
    seq_lens, extend_lens = [7, 12, 1], [1, 12, 1]
    q = torch.randn(sum(extend_lens), 6, 8)
    k_cache, v_cache = torch.randn(40, 2, 8), torch.randn(40, 2, 8)
    req_to_token = torch.randperm(39)[: 3 * 13].view(3, 13).int() + 1
    req_pool_indices = torch.tensor([2, 0, 1], dtype=torch.int32)
    query_start = torch.tensor([0, 1, 13, 14], dtype=torch.int32)
    out = paged_attention.reference(
        q, k_cache, v_cache, req_to_token, req_pool_indices, torch.tensor(seq_lens).int(),
        query_start, 0.3, window, None,
    )  # fmt: skip
    for b, (seq_len, extend_len) in enumerate(zip(seq_lens, extend_lens, strict=True)):
        slots = req_to_token[req_pool_indices[b], :seq_len].long()
        mask = torch.ones(seq_len, seq_len).tril()
        if window is not None:
            mask = mask.triu(1 - window)
        expected = F.scaled_dot_product_attention(
            q[query_start[b] : query_start[b + 1]].transpose(0, 1),
            k_cache[slots].transpose(0, 1),
            v_cache[slots].transpose(0, 1),
            attn_mask=mask[seq_len - extend_len :].bool(),
            scale=0.3,
            enable_gqa=True,
        )
        torch.testing.assert_close(
            out[query_start[b] : query_start[b + 1]], expected.transpose(0, 1)
        )


def test_soft_cap_bounds_the_scores() -> None:
    q, k_cache = torch.full((1, 1, 4), 100.0), torch.zeros(3, 1, 4)
    k_cache[1], k_cache[2] = 1.0, -1.0  # scores 400 and -400, capped at 2 and -2
    v_cache = torch.eye(3).unsqueeze(1)
    out = paged_attention.reference(
        q, k_cache, torch.cat((v_cache, torch.zeros(3, 1, 1)), -1),
        torch.tensor([[1, 2]], dtype=torch.int32), torch.tensor([0]).int(), torch.tensor([2]).int(),
        torch.tensor([0, 1]).int(), 1.0, None, 2.0,
    )  # fmt: skip
    expected = torch.tensor([2.0, -2.0]).softmax(-1)
    torch.testing.assert_close(out[0, 0, 1:3], expected)


def test_linear_is_torchs() -> None:
    x, weight, bias = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    layer = linear.reference(weight, bias)
    assert (layer.in_features, layer.out_features) == (8, 5)
    torch.testing.assert_close(layer(x), x @ weight.T + bias)


def _sample(
    probs: list[float], uniform: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> int:
    ids = sample.reference(
        torch.tensor([probs]).log() * 0.5, torch.tensor([0.5]), torch.tensor([top_k or len(probs)]),
        torch.tensor([top_p]), torch.tensor([min_p]), torch.tensor([uniform]),
    )  # fmt: skip
    return int(ids)


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 2), (0.39, 2), (0.41, 1), (0.69, 1), (0.71, 3), (0.95, 0)]
)
def test_a_uniform_falls_into_intervals_of_descending_probability(
    uniform: float, token: int
) -> None:
    assert _sample([0.1, 0.3, 0.4, 0.2], uniform) == token


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({"top_k": 1}, {2}),
        ({"top_k": 3}, {2, 1, 3}),
        ({"top_p": 0.39}, {2}),
        ({"top_p": 0.41}, {2, 1}),
        ({"min_p": 0.6}, {2, 1}),
        ({"top_k": 2, "top_p": 0.5}, {2}),  # 0.4 of the 0.7 that top-k left is above one half
        ({"top_p": 0.95, "min_p": 0.4}, {2, 1, 3}),
    ],
)
def test_filters_keep_exactly(filters: dict[str, float], kept: set[int]) -> None:
    drawn = {_sample([0.1, 0.3, 0.4, 0.2], u / 200, **filters) for u in range(200)}  # type: ignore[arg-type]
    assert drawn == kept


def test_ties_go_to_the_lower_id() -> None:
    assert _sample([0.25, 0.25, 0.25, 0.25], 0.99, top_k=2) == 1
    assert _sample([0.25, 0.25, 0.25, 0.25], 0.6) == 2


def test_forbidden_tokens_are_never_drawn() -> None:
    assert {_sample([0.0, 0.5, 0.0, 0.5], u / 100) for u in range(100)} == {1, 3}


def test_bitmask_forbids_by_bit_and_leaves_other_rows() -> None:
    logits = torch.randn(3, 70)
    original = logits.clone()
    words = torch.zeros(1, 3, dtype=torch.int32)
    words[0, 0] = -(2**31) | 1  # tokens 0 and 31
    words[0, 2] = 1 << 5  # token 69
    token_bitmask.reference(logits, words, torch.tensor([1]))
    finite = logits.isfinite()
    assert finite[1].nonzero().flatten().tolist() == [0, 31, 69]
    assert torch.equal(logits[finite], original[finite])
    assert finite[0].all() and finite[2].all()
