"""The exact bytes of each token of a tokenizer, for masks, forced text and incremental output."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class HasVocabulary(Protocol):
    """A ``tokenizers.Tokenizer``."""

    decoder: Any

    def get_vocab(self) -> Mapping[str, int]: ...


def token_bytes_of(
    tokenizer: HasVocabulary, vocab_size: int, without: Collection[int]
) -> list[bytes | None]:
    """The bytes each id stands for [vocab_size].

    A sentencepiece ``▁`` is the space it stands for, also at the start of a text.

    Args:
        tokenizer: of the ``tokenizers`` package.
        vocab_size: number of logits; rows beyond the tokenizer's own have no bytes.
        without: ids that stand for no text, such as special tokens.
    """
    to_bytes = _byte_level_bytes if _is_byte_level(tokenizer) else _sentencepiece_bytes
    table: list[bytes | None] = [None] * vocab_size
    for token, token_id in tokenizer.get_vocab().items():
        if token_id < vocab_size and token_id not in without:
            table[token_id] = to_bytes(token)
    return table


def byte_level_alphabet() -> dict[int, str]:
    """The character GPT-2's byte-level BPE writes for each byte.

    Printable Latin-1 stands for itself; the other bytes, in order, are U+0100 and on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + place) for place, byte in enumerate(others)
    }


_BYTE_OF = {char: byte for byte, char in byte_level_alphabet().items()}


def _byte_level_bytes(token: str) -> bytes:
    try:
        return bytes([_BYTE_OF[char] for char in token])
    except KeyError:  # written plainly, as some vocabularies do with extra tokens
        return token.encode()


def _sentencepiece_bytes(token: str) -> bytes:
    """``▁`` is a space, ``<0x0A>`` one byte, the rest UTF-8."""
    match = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(match[1], 16)]) if match else token.replace("▁", " ").encode()


def _is_byte_level(tokenizer: HasVocabulary) -> bool:
    """Whether the vocabulary spells bytes as characters, told by the decoder."""
    decoder = json.loads(tokenizer.decoder.__getstate__()) if tokenizer.decoder else {}
    return any(part.get("type") == "ByteLevel" for part in decoder.get("decoders", [decoder]))
