"""Builds a tokenizer from the metadata of a GGUF file.

A GGUF holds vocabulary, merges or scores, and a name for how text is split; the rest of what a
tokenizer.json would say follows from ``tokenizer.ggml.model``: "gpt2" is byte-level BPE, "llama"
is sentencepiece's BPE with byte fallback. Names: src/llama-vocab.cpp of
https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers import Tokenizer as Backend

from ..errors import ModelLoadError
from .tokenizer import Tokenizer, TokenizerSettings

# Entries of tokenizer.ggml.token_type; the first two are special tokens.
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5
_SPECIAL_TOKENS = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "pad_token": "padding",
}

# How text is cut into words before BPE, by what tokenizer.ggml.pre calls it. None is GPT-2's own.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WORD_PATTERNS: dict[str, str | None] = {
    "default": None,
    "gpt-2": None,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "smaug-bpe": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
}
# GPT-2's pattern after every digit was cut off by itself.
_DIGITS_FIRST = frozenset({"smollm", "starcoder", "refact", "command-r"})
_NFC = frozenset({"qwen2", "deepseek-r1-qwen"})
# Llama 3 and Mistral's Tekken take a word that is in the vocabulary whole, whatever its merges,
# and put BOS in front unless the file says not to.
_WHOLE_WORDS = frozenset({"llama3", "llama-v3", "llama-bpe", "smaug-bpe", "tekken"})


def tokenizer_from_gguf(
    metadata: Mapping[str, Any], vocab_size: int, eos_token_ids: tuple[int, ...]
) -> Tokenizer:
    """The tokenizer a GGUF file describes.

    Args:
        metadata: the file's; ``tokenizer.*`` is read, and ``general.architecture``.
        vocab_size: rows of the model's logits.
        eos_token_ids: ids that end a generation.

    Raises:
        ModelLoadError: it is of a kind that is not supported, or incomplete.
    """
    vocabulary = _Vocabulary(metadata)
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "gpt2":
        backend = _byte_level(vocabulary, metadata)
    elif kind == "llama":
        backend = _sentencepiece(vocabulary, metadata)
    else:
        raise ModelLoadError(f"GGUF tokenizer {kind!r} is not supported; known are gpt2 and llama")
    backend.add_special_tokens(vocabulary.added_tokens(_UNKNOWN, _CONTROL))
    backend.add_tokens(vocabulary.added_tokens(_USER_DEFINED))
    bos_by_default = kind == "llama" or metadata.get("tokenizer.ggml.pre") in _WHOLE_WORDS
    _add_bos_and_eos(backend, vocabulary, metadata, bos_by_default)
    template = metadata.get("tokenizer.chat_template")
    settings = TokenizerSettings(
        vocab_size=vocab_size,
        eos_token_ids=eos_token_ids,
        special_tokens=vocabulary.special_tokens,
        chat_templates={} if template is None else {"default": template},
        unused_token_ids=vocabulary.ids_of_type(_UNUSED),
    )
    return Tokenizer(backend, settings)


class _Vocabulary:
    """The token table of the metadata, checked."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.tokens: list[str] = metadata.get("tokenizer.ggml.tokens") or []
        if not self.tokens:
            raise ModelLoadError("the GGUF metadata lacks tokenizer.ggml.tokens")
        types = metadata.get("tokenizer.ggml.token_type")
        self._types = [] if types is None else types.tolist()[: len(self.tokens)]
        self.special_tokens = {
            name: self.tokens[token_id]
            for name, key in _SPECIAL_TOKENS.items()
            if (token_id := metadata.get(f"tokenizer.ggml.{key}_token_id")) is not None
            and token_id < len(self.tokens)
        }

    def added_tokens(self, *token_types: int) -> list[AddedToken]:
        """Tokens of some types: they are found in the text before anything else happens to it."""
        return [
            AddedToken(self.tokens[token_id], normalized=False)
            for token_id in sorted(self.ids_of_type(*token_types))
        ]

    def ids_of_type(self, *token_types: int) -> frozenset[int]:
        return frozenset(
            token_id for token_id, its_type in enumerate(self._types) if its_type in token_types
        )

    def ids(self) -> dict[str, int]:
        return {token: token_id for token_id, token in enumerate(self.tokens)}


def _byte_level(vocabulary: _Vocabulary, metadata: Mapping[str, Any]) -> Backend:
    pre = metadata.get("tokenizer.ggml.pre", "default")
    merges = metadata.get("tokenizer.ggml.merges")
    if merges is None:
        raise ModelLoadError("the GGUF metadata lacks tokenizer.ggml.merges")
    try:
        model = models.BPE(
            vocab=vocabulary.ids(),
            merges=[tuple(merge.split(" ", 1)) for merge in merges],
            ignore_merges=pre in _WHOLE_WORDS,
        )
    except Exception as error:  # the package raises plain Exception for a merge it cannot use
        raise ModelLoadError(f"tokenizer.ggml.merges do not fit the tokens: {error}") from error
    backend = Backend(model)
    backend.normalizer = normalizers.NFC() if pre in _NFC else None
    backend.pre_tokenizer = _word_splitter(pre)
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_splitter(pre: str) -> pre_tokenizers.PreTokenizer:
    if pre in _DIGITS_FIRST:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if pre not in _WORD_PATTERNS:
        known = sorted([*_WORD_PATTERNS, *_DIGITS_FIRST])
        raise ModelLoadError(
            f"tokenizer.ggml.pre {pre!r} is not supported; known are {', '.join(known)}"
        )
    pattern = _WORD_PATTERNS[pre]
    if pattern is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, to_bytes])


def _sentencepiece(vocabulary: _Vocabulary, metadata: Mapping[str, Any]) -> Backend:
    """BPE over characters with ``▁`` for the space; Gemma adds no space in front, Llama does."""
    is_gemma = str(metadata.get("general.architecture", "")).startswith("gemma")
    if is_gemma:  # its runs of spaces are written as spaces, its scores say nothing of merges
        vocabulary.tokens = [
            "▁" * len(token) if token.isspace() and set(token) == {" "} else token
            for token in vocabulary.tokens
        ]
        priorities = [-float(token_id) for token_id in range(len(vocabulary.tokens))]
    else:
        scores = metadata.get("tokenizer.ggml.scores")
        if scores is None or len(scores) != len(vocabulary.tokens):
            raise ModelLoadError("the GGUF metadata lacks tokenizer.ggml.scores for every token")
        priorities = scores.tolist()
    ids = vocabulary.ids()
    model = models.BPE(
        vocab=ids,
        merges=list(_merges(ids, priorities)),
        unk_token=vocabulary.special_tokens.get("unk_token", vocabulary.tokens[0]),
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Backend(model)
    prefix_space = not is_gemma and metadata.get("tokenizer.ggml.add_space_prefix", True)
    steps: list[decoders.Decoder] = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    if is_gemma:
        backend.normalizer = normalizers.Replace(" ", "▁")
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement="▁", prepend_scheme="first" if prefix_space else "never", split=False
        )
    if prefix_space:
        steps.append(decoders.Strip(content=" ", left=1))
    backend.decoder = decoders.Sequence(steps)
    return backend


def _merges(ids: Mapping[str, int], priorities: list[float]) -> Iterator[tuple[str, str]]:
    """The merges a sentencepiece vocabulary implies, first the ones to apply first.

    Sentencepiece joins whichever two neighbours make the best-scored token (Kudo and Richardson
    2018, section 3.2), so every way to cut a token in two known ones is a merge, ranked by the
    token's score; of one token's the longer left part goes first.
    """
    for token in sorted(ids, key=lambda token: -priorities[ids[token]]):
        for cut in range(len(token) - 1, 0, -1):
            if token[:cut] in ids and token[cut:] in ids:
                yield token[:cut], token[cut:]


def _add_bos_and_eos(
    backend: Backend, vocabulary: _Vocabulary, metadata: Mapping[str, Any], bos_by_default: bool
) -> None:
    template: list[str] = ["$A"]
    special: list[tuple[str, int]] = []
    for name, default, place in (("bos", bos_by_default, 0), ("eos", False, 2)):
        token = vocabulary.special_tokens.get(f"{name}_token")
        if token is not None and metadata.get(f"tokenizer.ggml.add_{name}_token", default):
            template.insert(place, token)
            special.append((token, metadata[f"tokenizer.ggml.{name}_token_id"]))
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=special
        )
