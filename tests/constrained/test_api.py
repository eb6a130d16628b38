"""The grammars without the server: any tokenizer, no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models

from sglang_lang.constrained.api import (
    GrammarError,
    GrammarMatcher,
    Vocabulary,
    allocate_bitmask,
    allowed_tokens,
    compile_json_schema,
    compile_regex,
    compiler_of,
    vocabulary_of,
)
from sglang_lang.constrained.token_bytes import byte_level_alphabet

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 9}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}


def new_tokenizer() -> tokenizers.Tokenizer:
    """Every byte, a word, and the end of text."""
    vocab = {char: byte for byte, char in sorted(byte_level_alphabet().items())}
    vocab["true"] = 256
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return vocabulary_of(new_tokenizer(), [257], vocab_size=300)


def draw(matcher: GrammarMatcher, vocabulary: Vocabulary, rng: np.random.Generator) -> bytes:
    """The text of random allowed tokens, up to where the matcher ends."""
    text, bitmask = b"", allocate_bitmask(1, vocabulary)
    while not matcher.is_terminated():
        matcher.fill_next_token_bitmask(bitmask, 0)
        ids = np.flatnonzero(allowed_tokens(bitmask[0])[: vocabulary.size])
        token_id = int(rng.choice(ids))
        assert matcher.accept_token(token_id)
        text += vocabulary.token_bytes[token_id] or b""
    return text


def test_a_tokenizer_gives_its_bytes(vocabulary: Vocabulary) -> None:
    assert vocabulary.size == 300 and vocabulary.eos_token_ids == (257,)
    assert vocabulary.token_bytes[0xE9] == b"\xe9" and vocabulary.token_bytes[256] == b"true"
    assert vocabulary.token_bytes[257] is None and vocabulary.token_bytes[299] is None
    with pytest.raises(ValueError, match="eos_token_ids"):
        vocabulary_of(new_tokenizer())


@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)], ids=["data", "text"])
def test_random_texts_satisfy_the_schema(schema: object, vocabulary: Vocabulary) -> None:
    grammar = compile_json_schema(schema, vocabulary, whitespace="compact")  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    for _ in range(20):
        text = draw(grammar.matcher(), vocabulary, rng).decode()
        jsonschema.validate(json.loads(text), SCHEMA)
        assert ", " not in text.replace(json.loads(text)["name"], "")


def test_a_regex_and_every_other_kind(vocabulary: Vocabulary) -> None:
    assert draw(
        compile_regex("(true){2}", vocabulary).matcher(), vocabulary, np.random.default_rng(1)
    )
    assert compile_regex("a+", vocabulary) is compile_regex("a+", vocabulary)
    chosen = compiler_of(vocabulary).compile("choices", ["yes", "no"]).matcher()
    assert draw(chosen, vocabulary, np.random.default_rng(2)) in (b"yes", b"no")
    with pytest.raises(GrammarError, match="position"):
        compile_regex("(", vocabulary)


def test_it_needs_neither_torch_nor_the_server() -> None:
    program = (
        "import sglang_lang.constrained.api, sys; "
        "print('torch' in sys.modules, 'zmq' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
