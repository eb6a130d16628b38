"""Prefixes kept in the cache until they are given up: computed, then pinned."""

from __future__ import annotations

from dataclasses import replace

from ..errors import RequestError
from ..sampling_params import SamplingParams
from .tokenizer_manager import GenerateInput, TokenizerManager


async def pin_prefix(manager: TokenizerManager, prefix: GenerateInput) -> int:
    """Compute what is not cached of a prefix and keep it; returns how many tokens are kept.

    Whole pages are; fewer only if others pushed them out in the same moment.

    Raises:
        RequestError: the prefix is wrong, or too much would be pinned.
    """
    input_ids = await manager.input_ids(prefix)
    params = SamplingParams(max_new_tokens=0)
    await manager.generate(
        replace(prefix, text=None, input_ids=input_ids, sampling_params=params, stream=False)
    )
    reply = await manager.control("pin_prefix", input_ids=input_ids, extra_key=prefix.extra_key)
    if not reply.ok:
        raise RequestError(
            f"pinning {len(input_ids)} tokens more would leave no room for a request of full "
            "length: unpin others, or raise --max-total-tokens"
        )
    return int(reply.data["pinned_tokens"])


async def unpin_prefix(manager: TokenizerManager, prefix: GenerateInput) -> None:
    """Give a pinned prefix up.

    Raises:
        RequestError: there is no such pin.
    """
    input_ids = await manager.input_ids(prefix)
    reply = await manager.control("unpin_prefix", input_ids=input_ids, extra_key=prefix.extra_key)
    if not reply.ok:
        raise RequestError("this prefix is not pinned", status=404)
