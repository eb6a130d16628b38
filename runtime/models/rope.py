"""The rotary table a configuration asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checkpoints.config import RopeConfig
from ..layers.rotary import (
    cos_sin_table,
    inverse_frequencies,
    scale_llama3,
    scale_yarn,
    yarn_amplitude,
)


def rotary_table(rope: RopeConfig, num_positions: int) -> Tensor:
    """[num_positions, rotary_dim] float32 cosines and sines.

    "dynamic" stretches only sequences beyond the model's own context, and none is served.
    """
    frequencies = inverse_frequencies(rope.theta, rope.rotary_dim)
    amplitude = 1.0
    if rope.kind == "linear":
        frequencies = frequencies / rope.factor
    elif rope.kind == "factors":
        frequencies = frequencies / torch.tensor(rope.factors, dtype=torch.float32)
    elif rope.kind == "llama3":
        frequencies = scale_llama3(
            frequencies,
            rope.factor,
            rope.low_freq_factor,
            rope.high_freq_factor,
            rope.original_context_len,
        )
    elif rope.kind == "yarn":
        frequencies = scale_yarn(
            rope.theta,
            rope.rotary_dim,
            rope.factor,
            rope.original_context_len,
            rope.beta_fast,
            rope.beta_slow,
            rope.truncate,
        )
        amplitude = rope.attention_factor or yarn_amplitude(
            rope.factor, rope.mscale, rope.mscale_all_dim
        )
    return cos_sin_table(frequencies, num_positions, amplitude)
