"""Prompts that ask a code model for the text between a prefix and a suffix."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import RequestError
from .tokenizer import Tokenizer

# The special tokens around prefix and suffix, in the models' own order: before the first text,
# between the two, and behind the second; the second entry says whether the suffix goes first.
_FORMS = (
    (("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"), False),  # Qwen2.5-Coder, CodeGemma
    (("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), False),  # StarCoder
    (("<fim-prefix>", "<fim-suffix>", "<fim-middle>"), False),  # SantaCoder
    (("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"), False),  # DeepSeek-Coder
    (("▁<PRE>", "▁<SUF>", "▁<MID>"), False),  # Code Llama
    (("[SUFFIX]", "[PREFIX]", ""), True),  # Codestral
)


def infill_prompt(tokenizer: Tokenizer, prompt: str | Sequence[int], suffix: str) -> list[int]:
    """Token ids of a prompt whose continuation stands between ``prompt`` and ``suffix``.

    Raises:
        RequestError: the model was not trained for it: it has none of the tokens.
    """
    for marks, suffix_first in _FORMS:
        ids = [tokenizer.token_id(mark) for mark in marks if mark]
        if None in ids:
            continue
        prefix_ids = tokenizer.encode(prompt, False) if isinstance(prompt, str) else list(prompt)
        suffix_ids = tokenizer.encode_continuation(suffix)
        first, second = (suffix_ids, prefix_ids) if suffix_first else (prefix_ids, suffix_ids)
        known = [token_id for token_id in ids if token_id is not None]
        bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return [*bos, known[0], *first, known[1], *second, *known[2:]]
    raise RequestError(
        "suffix is not supported by this model: its vocabulary has no fill-in-the-middle tokens",
        param="suffix",
    )
