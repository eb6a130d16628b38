"""Tables of the rotary position embedding, and the ways to stretch it over longer contexts.

Frequencies: RoFormer (Su et al. 2021), section 3.4.3: theta^(-2i / dim) for channel pair i.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def inverse_frequencies(theta: float, dim: int) -> Tensor:
    """[dim / 2] float32: the angle each channel pair turns per position."""
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim)


def cos_sin_table(frequencies: Tensor, num_positions: int, amplitude: float = 1.0) -> Tensor:
    """[num_positions, dim] float32: a row holds the cosines of its position, then the sines.

    Args:
        frequencies: [dim / 2].
        num_positions: rows.
        amplitude: multiplies cosines and sines (YaRN's attention factor).
    """
    positions = torch.arange(num_positions, dtype=torch.float32)
    angles = torch.outer(positions, frequencies)
    table = torch.empty(num_positions, 2 * len(frequencies))
    cosines, sines = table.chunk(2, dim=1)
    torch.cos(angles, out=cosines)
    torch.sin(angles, out=sines)
    return table if amplitude == 1.0 else table.mul_(amplitude)


def scale_llama3(
    frequencies: Tensor,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_context_len: int,
) -> Tensor:
    """Llama 3.1's scaling: slow pairs turn ``factor`` times slower, fast ones as before.

    A pair that turns more than ``high_freq_factor`` times over the original context is fast, one
    that turns less than ``low_freq_factor`` times is slow; between them the two are mixed.
    """
    turns = original_context_len * frequencies / (2 * math.pi)
    kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return kept * frequencies + (1.0 - kept) * frequencies / factor


def scale_yarn(
    theta: float,
    dim: int,
    factor: float,
    original_context_len: int,
    beta_fast: float,
    beta_slow: float,
    truncate: bool,
) -> Tensor:
    """YaRN's "NTK-by-parts" frequencies (Peng et al. 2023, section 3.2).

    Pairs that turn more than ``beta_fast`` times over the original context keep their frequency,
    those below ``beta_slow`` turn ``factor`` times slower, with a linear ramp over the pairs
    between; ``truncate`` rounds the ends of the ramp outwards to whole pairs.
    """
    frequencies = inverse_frequencies(theta, dim)

    def pair_turning(times: float) -> float:
        return dim * math.log(original_context_len / (times * 2 * math.pi)) / (2 * math.log(theta))

    first, last = pair_turning(beta_fast), pair_turning(beta_slow)
    if truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float32) - first) / max(last - first, 0.001)
    slowed = ramp.clamp(0.0, 1.0)
    return frequencies * (1.0 - slowed) + frequencies / factor * slowed


def yarn_amplitude(factor: float, mscale: float | None, mscale_all_dim: float | None) -> float:
    """The attention factor YaRN derives from ``factor`` (Peng et al. 2023, equation 22)."""

    def amplitude(strength: float) -> float:
        return 1.0 if factor <= 1.0 else 0.1 * strength * math.log(factor) + 1.0

    if mscale and mscale_all_dim:
        return amplitude(mscale) / amplitude(mscale_all_dim)
    return amplitude(1.0)
