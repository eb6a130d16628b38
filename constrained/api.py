"""Grammars for any engine: compile a constraint for a tokenizer, then ask its matchers for masks.

    from sglang_lang.constrained.api import compile_json_schema, vocabulary_of

    vocabulary = vocabulary_of(AutoTokenizer.from_pretrained(...))
    grammar = compile_json_schema({"type": "object"}, vocabulary)
    matcher = grammar.matcher()      # one for each text that is generated

Needs numpy, and a C++ compiler at the first use to be fast; neither torch nor the server.
examples/logits_processor.py and examples/own_engine.py use it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .backend import CompiledGrammar
from .batch import fill_batch
from .compiler import GrammarCompiler
from .errors import GrammarError, UnsupportedGrammarError
from .json_options import JsonWhitespace
from .kept_grammars import grammar_folder
from .matcher import GrammarMatcher
from .reasoning import ReasoningMatcher
from .token_bytes import token_bytes_of
from .vocabulary import Vocabulary
from .vocabulary_store import load_vocabulary

__all__ = [
    "CompiledGrammar",
    "GrammarCompiler",
    "GrammarError",
    "GrammarMatcher",
    "ReasoningMatcher",
    "UnsupportedGrammarError",
    "Vocabulary",
    "allocate_bitmask",
    "allowed_tokens",
    "compile_json_schema",
    "compile_regex",
    "compiler_of",
    "fill_batch",
    "vocabulary_of",
]


def vocabulary_of(
    tokenizer: Any, eos_token_ids: Iterable[int] | None = None, vocab_size: int | None = None
) -> Vocabulary:
    """The vocabulary of a Hugging Face tokenizer; built once, then read from the cache folder.

    Args:
        tokenizer: a fast tokenizer of transformers, or a ``tokenizers.Tokenizer``.
        eos_token_ids: tokens that end a text; transformers' ``eos_token_id`` when None.
        vocab_size: number of the model's logits, where it is more than the tokenizer's own.

    Raises:
        ValueError: no token is known to end a text.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if eos_token_ids is None:
        eos = getattr(tokenizer, "eos_token_id", None)
        eos_token_ids = () if eos is None else (eos,)
    ends = tuple(eos_token_ids)
    if not ends:
        raise ValueError("eos_token_ids must name the tokens that end a text")
    size = vocab_size or 1 + max(backend.get_vocab().values())
    special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    return load_vocabulary(token_bytes_of(backend, size, special), ends)


@lru_cache(8)
def compiler_of(vocabulary: Vocabulary) -> GrammarCompiler:
    """The compiler of a vocabulary: every kind of constraint, equal ones compiled once."""
    return GrammarCompiler(vocabulary, store=grammar_folder())


def compile_regex(pattern: str, vocabulary: Vocabulary) -> CompiledGrammar:
    """The texts that match a pattern, in Python's syntax, as a whole.

    Raises:
        GrammarError: the pattern is wrong, too large, or cannot be enforced.
    """
    return compiler_of(vocabulary).compile("regex", pattern)


def compile_json_schema(
    schema: dict[str, Any] | bool | str,
    vocabulary: Vocabulary,
    *,
    strict: bool = True,
    whitespace: JsonWhitespace | None = None,
) -> CompiledGrammar:
    """The JSON texts that satisfy a schema, given as Python data or as JSON text.

    Args:
        strict: refuse what cannot be enforced; otherwise leave it out and say so in ``warnings``.
        whitespace: how the JSON is spaced.

    Raises:
        GrammarError: the schema is wrong, too large, or cannot be enforced.
    """
    text = schema if isinstance(schema, str) else json.dumps(schema)
    compiler = compiler_of(vocabulary)
    return compiler.compile("json_schema", text, strict=strict, whitespace=whitespace)


def allocate_bitmask(rows: int, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """Masks that allow everything, int32 ``[rows, ceil(V/32)]``, to be filled by matchers."""
    return np.full((rows, vocabulary.row_len), -1, np.int32)


def allowed_tokens(row: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """One mask row as booleans; a little more than V of them, the last ones without meaning."""
    return np.unpackbits(row.view(np.uint8), bitorder="little").astype(np.bool_)
