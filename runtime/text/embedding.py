"""Texts to vectors: pooling requests, and what is done with the vectors that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..messages import Pooling
from ..sampling_params import SamplingParams
from .generation import Generation
from .tokenizer_manager import GenerateInput, TokenizerManager

Vector = npt.NDArray[np.float32]


async def pool(
    manager: TokenizerManager, prompts: Sequence[GenerateInput], pooling: Pooling
) -> list[Generation]:
    """One generation for each prompt, whose ``pooled`` is the vector as the model gives it.

    Raises:
        RequestError: a prompt is wrong or too long.
    """
    params = SamplingParams(max_new_tokens=0)
    parts = [
        replace(prompt, sampling_params=params, pooling=pooling, stream=False) for prompt in prompts
    ]
    return await manager.generate_all(parts)


def vector(generation: Generation) -> Vector:
    """The pooled vector [H] of a finished pooling request."""
    return np.frombuffer(generation.pooled, dtype=np.float32)


def unit_vector(generation: Generation, dimensions: int | None = None) -> Vector:
    """Its first components (all by default), scaled to length 1."""
    values = vector(generation)[:dimensions]
    return values / max(float(np.linalg.norm(values)), 1e-12)
