"""The smallest request that a healthy model answers."""

from __future__ import annotations

from ..sampling_params import SamplingParams
from ..text.tokenizer_manager import GenerateInput, TokenizerManager


async def probe(
    manager: TokenizerManager, extra_key: str, num_tokens: int = 1, new_tokens: int = 1
) -> None:
    """Put ``num_tokens`` through the model, apart from everybody's cache, and read its answer.

    Raises:
        SGLangError: there is none.
    """
    generates = manager.generates
    request = GenerateInput(
        input_ids=[0] * num_tokens,
        sampling_params=SamplingParams(
            max_new_tokens=new_tokens if generates else 0, temperature=0.0, ignore_eos=True
        ),
        extra_key=extra_key,
        pooling=None if generates else "last",
    )
    await manager.generate(request)
