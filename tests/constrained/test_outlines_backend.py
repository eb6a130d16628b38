"""The outlines backend behind the protocol, its limits, and the wrong masks it is known for."""

from __future__ import annotations

import numpy as np
import pytest

from sglang_lang.constrained.backend import JsonSchema
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.constrained.native_backend import NativeBackend
from sglang_lang.constrained.outlines_backend import OutlinesBackend
from sglang_lang.constrained.vocabulary import Vocabulary

EOS = 256
WORDS = [b"ab", b"abc", b'"a', "é".encode()]
TOKENS: list[bytes | None] = [*(bytes([byte]) for byte in range(256)), None, *WORDS]
VOCABULARY = Vocabulary.from_token_bytes(TOKENS, [EOS])
PATTERNS = ["ab?c?", "[a-c]{2,4}", "(abc|abd)+e", "x[^y]y", "éa"]
COMPACT = JsonOptions().with_whitespace("compact")


@pytest.fixture(scope="module")
def backend() -> OutlinesBackend:
    return OutlinesBackend(VOCABULARY)


def allowed(matcher: GrammarMatcher) -> set[int]:
    row = np.zeros((1, VOCABULARY.row_len), np.int32)
    matcher.fill_next_token_bitmask(row, 0)
    bits = np.unpackbits(row[0].view(np.uint8), bitorder="little")
    return set(np.flatnonzero(bits).tolist())


def test_masks_are_the_native_ones_on_plain_patterns(backend: OutlinesBackend) -> None:
    native = NativeBackend(VOCABULARY)
    rng = np.random.default_rng(5)
    for pattern in PATTERNS:
        ours, theirs = native.compile_regex(pattern).matcher(), backend.compile_regex(pattern)
        matcher = theirs.matcher()
        for _ in range(12):
            assert allowed(matcher) == allowed(ours), pattern
            assert matcher.is_accepting() == ours.is_accepting()
            if ours.is_terminated():
                break
            token_id = int(rng.choice(sorted(allowed(ours))))
            assert matcher.accept_token(token_id) and ours.accept_token(token_id)
            assert matcher.is_terminated() == ours.is_terminated()


def test_rollback_fork_prefix_and_forced_text(backend: OutlinesBackend) -> None:
    matcher = backend.compile_regex("abc(x|y)").matcher()
    assert matcher.forced() == b"abc"
    assert matcher.accept_token(TOKENS.index(b"ab"))
    fork = matcher.fork()
    assert fork.accept_token(ord("c")) and allowed(fork) == {ord("x"), ord("y")}
    matcher.rollback(1)
    matcher.require_prefix(b"ab")
    assert allowed(matcher) == {ord("a"), TOKENS.index(b"ab"), TOKENS.index(b"abc")}


def test_choices_and_schemas(backend: OutlinesBackend) -> None:
    matcher = backend.compile_choices(["a.b", "[x]"]).matcher()
    assert allowed(matcher) == {ord("a"), ord("[")}
    schema = JsonSchema.of({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]})
    assert backend.compile_json_schema(schema, COMPACT).matcher().forced() == b'{"a":1}'


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)a"])
def test_a_pattern_it_does_not_know_is_refused(backend: OutlinesBackend, pattern: str) -> None:
    with pytest.raises(GrammarError, match="outlines"):
        backend.compile_regex(pattern)


def test_a_pattern_that_takes_too_long_is_ended(backend: OutlinesBackend) -> None:
    with pytest.raises(GrammarError, match="more than 2 s"):
        backend.compile_regex("(a|b)*a(a|b){30}")


def test_a_keyword_it_does_not_know_goes_to_another_backend(backend: OutlinesBackend) -> None:
    with pytest.raises(GrammarError, match="outlines"):
        backend.compile_json_schema(JsonSchema.of({"not": {}}), COMPACT)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r"[ab.]+\.[ab]{2,}", b"a.ab"), ("(ab|cd)(, (ab|cd)){0,9}", b"ab")],
)
def test_the_wrong_masks_of_the_released_index(
    backend: OutlinesBackend, pattern: str, text: bytes
) -> None:
    """When this fails, a release is right: raise the requirement and mend the documentation."""
    matcher = backend.compile_regex(pattern).matcher()
    right = NativeBackend(VOCABULARY).compile_regex(pattern).matcher()
    assert all(map(matcher.accept_token, text)) and all(map(right.accept_token, text))
    assert allowed(matcher) < allowed(right)
