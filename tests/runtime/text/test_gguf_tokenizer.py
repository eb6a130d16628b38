"""Tokenizers built from GGUF metadata equal transformers' conversion of the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from sglang_lang.runtime.checkpoints.gguf_file import GGUFFile
from sglang_lang.runtime.errors import ModelLoadError
from sglang_lang.runtime.text.gguf_tokenizer import tokenizer_from_gguf
from sglang_lang.runtime.text.tokenizer import Tokenizer

from .samples import TEXTS

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_end|>"]
WITH_SPECIAL = [*TEXTS, "<s>hi</s> <|im_end|>\n<think> x</think>"]


def write_gguf(path: Path, architecture: str, fields: dict[str, Any]) -> Path:
    """A file with a tokenizer and the least of a model that transformers reads it with."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_vocab_size(len(fields["tokens"]))
    writer.add_tokenizer_model(fields["model"])
    writer.add_tokenizer_pre(fields.get("pre", "default"))
    writer.add_token_list(fields["tokens"])
    writer.add_token_types(fields["types"])
    if "merges" in fields:
        writer.add_token_merges(fields["merges"])
    if "scores" in fields:
        writer.add_token_scores(fields["scores"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(fields.get("add_bos", False))
    writer.add_add_space_prefix(fields.get("space_prefix", False))
    writer.add_chat_template("{{ bos_token }}{{ messages[0]['content'] }}")
    writer.add_tensor("token_embd.weight", np.zeros((1, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def build(path: Path) -> Tokenizer:
    metadata = GGUFFile(path).metadata
    return tokenizer_from_gguf(metadata, len(metadata["tokenizer.ggml.tokens"]), (2,))


def train(pre_tokenizer: Any, alphabet: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """A small BPE vocabulary learned from the sample texts: its tokens and merges in order."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    backend.train_from_iterator([*TEXTS, *TEXTS], trainer)
    vocab = backend.get_vocab()
    merges = json.loads(backend.to_str())["model"]["merges"]
    return sorted(vocab, key=vocab.__getitem__), [tuple(merge) for merge in merges]


@pytest.fixture(scope="module")
def byte_level_fields() -> dict[str, Any]:
    tokens, merges = train(
        pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet()
    )
    added = [*SPECIAL, *tokens, "<think>"]
    types = [CONTROL] * len(SPECIAL) + [1] * len(tokens) + [USER_DEFINED]
    return {
        "model": "gpt2",
        "tokens": added,
        "types": types,
        "merges": [" ".join(merge) for merge in merges],
    }


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2", "tekken"])
def test_byte_level_equals_transformers(
    pre: str, byte_level_fields: dict[str, Any], tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "model.gguf", "llama", byte_level_fields | {"pre": pre})
    ours, reference = build(path), AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    for text in WITH_SPECIAL:
        ids = ours.encode(text)
        assert ids == reference(text).input_ids, text
        assert ours.decode(ids) == reference.decode(ids, skip_special_tokens=True)


def test_sentencepiece_equals_transformers(tmp_path: Path) -> None:
    tokens, _ = train(pre_tokenizers.Metaspace(split=False, prepend_scheme="never"), [])
    tokens = [token for token in tokens if token not in ("é", "漢")]  # left to byte fallback
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    fields = {
        "model": "llama",
        "tokens": [*SPECIAL, *byte_tokens, *tokens],
        "types": [CONTROL] * len(SPECIAL) + [BYTE] * 256 + [1] * len(tokens),
        "scores": [0.0] * (len(SPECIAL) + 256) + [-float(rank) for rank in range(len(tokens))],
        "add_bos": True,
        "space_prefix": True,
    }
    path = write_gguf(tmp_path / "model.gguf", "llama", fields)
    ours, reference = build(path), AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    assert ours.encode("a")[0] == ours.bos_token_id == 1
    for text in WITH_SPECIAL:
        ids = ours.encode(text)
        assert ids == reference(text).input_ids, text
        assert ours.decode(ids) == reference.decode(ids, skip_special_tokens=True)


def test_sentencepiece_token_bytes_spell_the_text(tmp_path: Path) -> None:
    fields = {
        "model": "llama",
        "tokens": ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "▁a", "a"],
        "types": [2, CONTROL, CONTROL, BYTE, BYTE, 1, 1, 1],
        "scores": [0.0, 0.0, 0.0, 0.0, 0.0, -2.0, -1.0, -3.0],
    }
    tokenizer = build(write_gguf(tmp_path / "model.gguf", "llama", fields))
    ids = tokenizer.encode(" aé a")
    assert ids == [6, 3, 4, 6]
    assert b"".join(tokenizer.token_bytes[i] or b"" for i in ids) == " aé a".encode()


def test_embedded_model_equals_transformers(embedded_model_path: str) -> None:
    folder, _, name = embedded_model_path.rpartition("/")
    reference = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    ours = build(Path(embedded_model_path))
    for text in WITH_SPECIAL:
        if "½" not in text:  # a number after a space: see below
            assert ours.encode(text) == reference(text).input_ids, text


def test_smollm_cuts_digits_off_before_spaces_are_grouped(embedded_model_path: str) -> None:
    """As its published tokenizer.json and llama.cpp do; transformers leaves it out for GGUF."""
    ours = build(Path(embedded_model_path))
    two_spaces = ours.encode("  ")
    assert len(two_spaces) == 1
    assert ours.encode("a  12")[1:] == two_spaces + ours.encode("1") + ours.encode("2")


def test_qwen2_composes_characters(byte_level_fields: dict[str, Any], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", "llama", byte_level_fields | {"pre": "qwen2"})
    tokenizer = build(path)
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9")


def test_llama3_puts_bos_first_unless_told_otherwise() -> None:
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": ["a", "b", "<s>"],
        "tokenizer.ggml.token_type": np.array([1, 1, CONTROL]),
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 2,
    }
    assert tokenizer_from_gguf(metadata, 3, ()).encode("ab") == [2, 0, 1]
    metadata["tokenizer.ggml.add_bos_token"] = False
    assert tokenizer_from_gguf(metadata, 3, ()).encode("ab") == [0, 1]


def test_unused_tokens_stand_for_nothing(tmp_path: Path) -> None:
    fields = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": ["<unk>", "<s>", "</s>", "a", "[PAD4]", "aa"],
        "types": [UNKNOWN, CONTROL, CONTROL, 1, UNUSED, 1],
        "merges": ["a a"],
    }
    tokenizer = build(write_gguf(tmp_path / "model.gguf", "llama", fields))
    assert tokenizer.token_bytes == [None, None, None, b"a", None, b"aa"]
    assert tokenizer.special_token_ids == {0, 1, 2}


def test_chat_template_comes_along(byte_level_fields: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = build(write_gguf(tmp_path / "model.gguf", "llama", byte_level_fields))
    assert tokenizer.render_chat([{"role": "user", "content": "hi"}]) == "<s>hi"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.ggml.model": "bert"}, "'bert' is not supported"),
        ({"tokenizer.ggml.pre": "mystery"}, "'mystery' is not supported; known are"),
        ({"tokenizer.ggml.tokens": []}, "lacks tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.merges": None}, "lacks tokenizer.ggml.merges"),
        ({"tokenizer.ggml.merges": ["no such"]}, "do not fit the tokens"),
    ],
)
def test_what_is_missing_is_named(change: dict[str, Any], message: str) -> None:
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.ggml.merges": [],
    }
    with pytest.raises(ModelLoadError, match=message):
        tokenizer_from_gguf(metadata | change, 2, ())
