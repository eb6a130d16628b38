"""Tries on disk: read back the same, and never believed when they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sglang_lang.constrained import vocabulary_store
from sglang_lang.constrained.vocabulary import Trie, Vocabulary
from sglang_lang.constrained.vocabulary_store import load_vocabulary
from tests.constrained.byte_grammar import EOS, VOCABULARY

TOKENS = VOCABULARY.token_bytes


def same(first: Vocabulary, second: Vocabulary) -> bool:
    names = ("order", "node_bytes", "node_skip", "node_tokens")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def test_a_trie_is_built_once_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same(load_vocabulary(TOKENS, [EOS], tmp_path), VOCABULARY)
    monkeypatch.setattr(vocabulary_store, "build_trie", None)
    again = load_vocabulary(TOKENS, [EOS], tmp_path)
    assert same(again, VOCABULARY) and again.prefix_row(b"ab").any()


def test_other_tokens_have_another_file(tmp_path: Path) -> None:
    load_vocabulary(TOKENS, [EOS], tmp_path)
    load_vocabulary(TOKENS[:-1], [EOS], tmp_path)
    load_vocabulary(TOKENS, [EOS, 7], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("order", 10**6), ("node_skip", 0), ("node_skip", 10**6), ("node_tokens", -5)],
)
def test_a_file_that_does_not_fit_is_made_anew(tmp_path: Path, name: str, value: int) -> None:
    arrays = {field: getattr(VOCABULARY, field).copy() for field in Trie._fields}
    arrays[name][3] = value
    load_vocabulary(TOKENS, [EOS], tmp_path)
    (path,) = tmp_path.iterdir()
    header = path.read_bytes()[:16]
    path.write_bytes(header + b"".join(array.tobytes() for array in arrays.values()))
    assert same(load_vocabulary(TOKENS, [EOS], tmp_path), VOCABULARY)


@pytest.mark.parametrize("content", [b"", b"torn", b"\xff" * 16, bytes(20)])
def test_a_torn_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    load_vocabulary(TOKENS, [EOS], tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert same(load_vocabulary(TOKENS, [EOS], tmp_path), VOCABULARY)


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert same(load_vocabulary(TOKENS, [EOS], file / "below"), VOCABULARY)
