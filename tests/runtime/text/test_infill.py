"""Prompts for code models that fill in the middle."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel

from sglang_lang.constrained.token_bytes import byte_level_alphabet
from sglang_lang.runtime.errors import RequestError
from sglang_lang.runtime.text.infill import infill_prompt
from sglang_lang.runtime.text.tokenizer import Tokenizer, TokenizerSettings


def tokenizer_with(*special: str) -> Tokenizer:
    alphabet = byte_level_alphabet()
    backend = Backend(models.BPE(vocab={alphabet[i]: i for i in range(256)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    return Tokenizer(backend, TokenizerSettings(256 + len(special), (), {}, {}))


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        (("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"), [256, 97, 258, 98, 257]),
        (("<fim_prefix>", "<fim_middle>", "<fim_suffix>"), [256, 97, 258, 98, 257]),
        (("[PREFIX]", "[SUFFIX]"), [257, 98, 256, 97]),
    ],
)
def test_the_texts_stand_where_the_model_wants_them(
    special: tuple[str, ...], expected: list[int]
) -> None:
    assert infill_prompt(tokenizer_with(*special), "a", "b") == expected
    assert infill_prompt(tokenizer_with(*special), [97], "b") == expected


def test_other_models_refuse() -> None:
    with pytest.raises(RequestError) as caught:
        infill_prompt(tokenizer_with("<|fim_prefix|>"), "a", "b")
    assert caught.value.param == "suffix"
