"""Grammars from disk: the same masks, and compiled only where a text leads beyond what is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sglang_lang.constrained import kept_grammars, native_backend
from sglang_lang.constrained.backend import CompiledGrammar
from sglang_lang.constrained.compiler import GrammarCompiler, GrammarKind, GrammarLimits
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.file_store import FileStore
from sglang_lang.constrained.grammar import NetworkGrammar
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.machine_tables import decoded
from sglang_lang.constrained.regex_grammar import regex_network
from tests.constrained.byte_grammar import NATIVE, VOCABULARY
from tests.constrained.json_schema.cases import CASES, TREE

TEXT = '{"value": 1, "children": [{"value": 2}]}'
BOUND = 1 << 20


def compiler_at(folder: Path, **settings: Any) -> GrammarCompiler:
    """As a new process would have it."""
    return GrammarCompiler(VOCABULARY, store=FileStore(folder, BOUND), **settings)


def masks(grammar: CompiledGrammar, text: bytes) -> list[bytes]:
    """The mask before each byte of a text, and after the last."""
    matcher = grammar.matcher()
    row = np.zeros((1, VOCABULARY.row_len), np.int32)
    found = []
    for byte in (*text, None):
        matcher.fill_next_token_bitmask(row, 0)
        found.append(row.tobytes())
        if byte is not None and not matcher.accept_token(byte):
            break
    return found


def learn(folder: Path, schema: Any, text: str) -> list[bytes]:
    compiler = compiler_at(folder)
    found = masks(compiler.compile("json_schema", json.dumps(schema)), text.encode())
    compiler.save()
    return found


def test_what_is_known_needs_no_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = learn(tmp_path, TREE, TEXT)

    def refuse(*_: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(native_backend, "JsonNetwork", refuse)
    grammar = compiler_at(tmp_path).compile("json_schema", json.dumps(TREE))
    assert masks(grammar, TEXT.encode()) == expected


def test_the_rest_of_a_grammar_is_made_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(tmp_path, TREE, "{")
    compiler = compiler_at(tmp_path)
    recalled = compiler.compile("json_schema", json.dumps(TREE))
    compiler.save()  # after what else that thread had to do
    fresh = GrammarCompiler(VOCABULARY).compile("json_schema", json.dumps(TREE))
    monkeypatch.setattr(native_backend, "JsonNetwork", None)
    assert masks(recalled, TEXT.encode()) == masks(fresh, TEXT.encode())


def test_a_grammar_that_can_no_longer_be_compiled_says_so_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(tmp_path, TREE, "{")

    def refuse(*_: object) -> None:
        raise GrammarError("takes too long")

    monkeypatch.setattr(native_backend, "JsonNetwork", refuse)
    grammar = compiler_at(tmp_path).compile("json_schema", json.dumps(TREE))
    for _ in range(2):
        with pytest.raises(GrammarError):
            masks(grammar, TEXT.encode())


def test_a_grammar_of_which_all_is_known_is_never_compiled(tmp_path: Path) -> None:
    learn(tmp_path, {"const": "ab"}, '"ab"')
    learn(tmp_path, TREE, "{")
    store = FileStore(tmp_path, BOUND)
    contents = [store.get(path.stem) or b"" for path in tmp_path.iterdir()]
    closed = [decoded(content).is_closed for content in contents]
    assert sorted(closed) == [False, True]


@pytest.mark.parametrize("index", range(len(CASES)))
def test_a_text_may_lead_beyond_what_is_known(index: int, tmp_path: Path) -> None:
    schema, texts, _ = CASES[index]
    learn(tmp_path, schema, texts[0])
    fresh = GrammarCompiler(VOCABULARY).compile("json_schema", json.dumps(schema))
    recalled = compiler_at(tmp_path).compile("json_schema", json.dumps(schema))
    for text in texts:
        assert masks(recalled, text.encode()) == masks(fresh, text.encode())


def test_what_is_learnt_later_is_added(tmp_path: Path) -> None:
    schema, texts, _ = CASES[0]
    learn(tmp_path, schema, "")
    (path,) = tmp_path.iterdir()
    before = path.stat().st_size
    learn(tmp_path, schema, texts[0])
    learn(tmp_path, schema, "")
    assert path.stat().st_size > before


def test_a_grammar_is_written_when_it_is_asked_for_again(tmp_path: Path) -> None:
    store = FileStore(tmp_path, BOUND)
    saver = kept_grammars.Saver(store)
    network = regex_network("ab*")
    grammar = NetworkGrammar(lambda: network, VOCABULARY, NATIVE)
    assert not saver.note("key", grammar)
    assert saver.note("key", grammar)
    saver.save("key")
    assert store.get("key") is not None and not saver.note("key", grammar)


def test_regexes_and_tool_calls_are_kept_too(tmp_path: Path) -> None:
    frame = dict.fromkeys(("opening", "separator", "closing"), "") | {"begin": "<", "end": ">"}
    call = {"properties": {"name": {"const": "f"}}, "required": ["name"], "type": "object"}
    tools = json.dumps(frame | {"calls": [call], "min": 1, "max": 2})
    kept: list[tuple[GrammarKind, str, bytes]] = [
        ("regex", r"(ab|c[de])+f", b"abcef"),
        ("tool_calls", tools, b'<{"name": "f"}>'),
    ]
    for kind, value, text in kept:
        first = compiler_at(tmp_path)
        expected = masks(first.compile(kind, value), text)
        first.save()
        assert masks(compiler_at(tmp_path).compile(kind, value), text) == expected
    assert len(list(tmp_path.iterdir())) == 2


def test_other_options_limits_and_texts_are_other_grammars(tmp_path: Path) -> None:
    learn(tmp_path, TREE, TEXT)
    for compiler in (
        compiler_at(tmp_path, json_options=JsonOptions(any_order=True)),
        compiler_at(tmp_path, limits=GrammarLimits(max_choices=1)),
    ):
        compiler.compile("json_schema", json.dumps(TREE))
        compiler.save()
    learn(tmp_path, TREE | {"title": "other"}, TEXT)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_torn_file_is_compiled_again(tmp_path: Path) -> None:
    expected = learn(tmp_path, TREE, TEXT)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert learn(tmp_path, TREE, TEXT) == expected


@pytest.mark.parametrize("content", [b"torn", b"\xff" * 40, b"\x02" + bytes(15)])
def test_bytes_that_are_no_tables_are_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="not the tables"):
        decoded(content)


def test_a_refused_grammar_is_refused_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(GrammarError):
            compiler_at(tmp_path).compile("json_schema", '{"type": "text"}')
    assert not list(tmp_path.iterdir())


SECOND_PROCESS = """
import json, sys
from pathlib import Path
from tests.constrained.json_schema.cases import CASES
from tests.constrained.test_kept_grammars import compiler_at, masks

for index, (schema, texts, _) in enumerate(CASES):
    grammar = compiler_at(Path(sys.argv[1])).compile("json_schema", json.dumps(schema))
    assert grammar.num_recalled, index
    for text in texts:
        masks(grammar, text.encode())  # raises where it is not the grammar that was kept
"""


def test_another_process_goes_on_whatever_its_hashes(tmp_path: Path) -> None:
    for schema, texts, _ in CASES:
        learn(tmp_path, schema, texts[0])
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", SECOND_PROCESS, str(tmp_path)],
            check=True,
            timeout=120,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
