"""Rotary frequencies equal transformers' for every kind of scaling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from sglang_lang.runtime.checkpoints.config import RopeConfig
from sglang_lang.runtime.layers.rotary import cos_sin_table, inverse_frequencies
from sglang_lang.runtime.models.rope import rotary_table

DIM, CONTEXT = 64, 512
KINDS: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},  # within the context: as if not scaled
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "yarn": {"factor": 4.0},
    "yarn, betas": {"factor": 16.0, "beta_fast": 16.0, "beta_slow": 2.0},
    "yarn, not truncated": {"factor": 4.0, "truncate": False},
    "yarn, attention factor": {"factor": 4.0, "attention_factor": 0.7},
    "yarn, mscale": {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.8},
}


def test_a_row_holds_cosines_then_sines() -> None:
    table = cos_sin_table(inverse_frequencies(10000.0, DIM), 7)
    angle = 5 * 10000.0 ** (-2 * 3 / DIM)
    assert table.shape == (7, DIM)
    assert table[5, 3].item() == pytest.approx(torch.tensor(angle).cos().item(), abs=1e-6)
    assert table[5, DIM // 2 + 3].item() == pytest.approx(
        torch.tensor(angle).sin().item(), abs=1e-6
    )


@pytest.mark.parametrize("name", KINDS)
def test_scaling_equals_transformers(name: str) -> None:
    kind: Any = name.split(",")[0]
    original = CONTEXT // 4
    config = LlamaConfig(
        hidden_size=DIM,
        num_attention_heads=1,
        max_position_embeddings=CONTEXT,
        rope_parameters={
            "rope_type": kind,
            "rope_theta": 10000.0,
            "original_max_position_embeddings": original,
            **KINDS[name],
        },
    )
    frequencies, amplitude = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    expected = cos_sin_table(frequencies, CONTEXT, amplitude)
    rope = RopeConfig(10000.0, DIM, kind, original_context_len=original, **KINDS[name])
    torch.testing.assert_close(rotary_table(rope, CONTEXT), expected, atol=2e-4, rtol=0)


def test_factors_divide_the_frequencies() -> None:
    factors = tuple(float(pair + 1) for pair in range(DIM // 2))
    rope = RopeConfig(10000.0, DIM, "factors", factors=factors)
    expected = cos_sin_table(inverse_frequencies(10000.0, DIM) / torch.tensor(factors), 16)
    torch.testing.assert_close(rotary_table(rope, 16), expected)
