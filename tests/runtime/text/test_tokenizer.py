"""The tokenizer over a tokenizer.json, with the embedded model's vocabulary as the example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from sglang_lang.constrained.token_bytes import byte_level_alphabet
from sglang_lang.runtime.checkpoints.checkpoint import open_checkpoint
from sglang_lang.runtime.errors import ModelLoadError, RequestError
from sglang_lang.runtime.text.tokenizer import Tokenizer

from .samples import TEXTS

# The vocabulary lacks tokens for the bytes of some control and of unassigned characters.
CHARACTERS = st.characters(exclude_categories=("Cc", "Cn", "Co", "Cs"))


@pytest.fixture(scope="module")
def smollm2() -> Tokenizer:
    return open_checkpoint(None).tokenizer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A byte tokenizer: one token a byte, then <s> and </s>."""
    vocab = {char: byte for byte, char in sorted(byte_level_alphabet().items())}
    backend = Backend(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    backend.add_tokens([AddedToken("<think>", normalized=False)])
    backend.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def write_config(folder: Path, **config: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def spelled(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    return b"".join(tokenizer.token_bytes[token_id] or b"" for token_id in ids)


@pytest.mark.parametrize("text", TEXTS)
def test_token_bytes_spell_the_text(smollm2: Tokenizer, text: str) -> None:
    ids = smollm2.encode(text)
    assert spelled(smollm2, ids) == text.encode()
    assert smollm2.decode(ids) == text


@settings(max_examples=200, derandomize=True, deadline=None)
@given(text=st.text(CHARACTERS, max_size=80))
def test_any_text_survives(smollm2: Tokenizer, text: str) -> None:
    assert spelled(smollm2, smollm2.encode(text)) == text.encode()


def test_special_tokens_are_found_in_text_and_have_no_bytes(smollm2: Tokenizer) -> None:
    ids = smollm2.encode("<|im_start|>user\nhi<|im_end|>")
    assert ids[0] == smollm2.bos_token_id and ids[-1] in smollm2.eos_token_ids
    assert {ids[0], ids[-1]} <= smollm2.special_token_ids
    assert smollm2.token_bytes[ids[0]] is None
    assert smollm2.decode(ids) == "user\nhi"
    assert smollm2.decode(ids, skip_special_tokens=False) == "<|im_start|>user\nhi<|im_end|>"


def test_batch_equals_one_by_one(smollm2: Tokenizer) -> None:
    assert smollm2.encode_batch(TEXTS) == [smollm2.encode(text) for text in TEXTS]


def test_lone_surrogate_is_refused(smollm2: Tokenizer) -> None:
    with pytest.raises(RequestError, match="valid Unicode"):
        smollm2.encode("\ud800")


def test_prompts_are_never_cut_or_padded(folder: Path) -> None:
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=6)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.encode_batch(["ab", "abcdefgh"]) == [[*b"ab"], [*b"abcdefgh"]]


def test_a_token_beyond_the_models_rows_is_refused(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder, vocab_size=258)
    assert tokenizer.encode("</s>") == [257]
    assert len(tokenizer.token_bytes) == 258
    with pytest.raises(RequestError, match="'<think>', a token this model does not have"):
        tokenizer.encode("a<think>b")


def test_padding_rows_have_no_bytes(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder, vocab_size=300)
    assert len(tokenizer.token_bytes) == tokenizer.vocab_size == 300
    assert tokenizer.token_bytes[0xC3] == b"\xc3"
    assert tokenizer.token_bytes[256:] == [None, None, b"<think>", *[None] * 41]


def test_eos_comes_from_the_tokenizer_when_the_model_is_silent(folder: Path) -> None:
    write_config(folder, eos_token="</s>", bos_token={"content": "<s>"})
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.eos_token_ids == (257,)
    assert tokenizer.bos_token_id == 256
    assert Tokenizer.from_folder(folder, eos_token_ids=(1, 2)).eos_token_ids == (1, 2)


def test_template_sees_special_tokens_and_tools_choose_theirs(folder: Path) -> None:
    templates = [
        {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"},
        {"name": "tool_use", "template": "{{ tools | length }} tools"},
    ]
    write_config(folder, bos_token="<s>", chat_template=templates)
    tokenizer = Tokenizer.from_folder(folder)
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.render_chat(messages) == "<s>hi"
    assert tokenizer.render_chat(messages, tools=[{}, {}]) == "2 tools"
    other = tokenizer.with_chat_template("other")
    assert other.render_chat(messages) == other.chat_template == "other"


def test_template_file_wins(folder: Path) -> None:
    write_config(folder, chat_template="old")
    (folder / "chat_template.jinja").write_text("new")
    assert Tokenizer.from_folder(folder).chat_template == "new"


def test_no_template_is_the_clients_problem(folder: Path) -> None:
    with pytest.raises(RequestError, match="no chat template") as error:
        Tokenizer.from_folder(folder).render_chat([])
    assert error.value.param == "messages"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "no tokenizer.json"),
        ("tokenizer.json", "{", "is broken"),
        ("tokenizer_config.json", "{", "is not valid JSON"),
    ],
)
def test_broken_files_are_named(folder: Path, file: str, content: str | None, message: str) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(ModelLoadError, match=message):
        Tokenizer.from_folder(folder)
