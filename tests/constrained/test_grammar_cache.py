"""The cache of grammars: one build for equal keys, bounded in bytes, failures not kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sglang_lang.constrained.backend import CompiledGrammar
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.grammar_cache import GrammarCache
from sglang_lang.constrained.matcher import GrammarMatcher


class Sized:
    """A grammar of which only the size matters."""

    warnings = ()

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes

    def matcher(self) -> GrammarMatcher:
        raise AssertionError("never asked for")


def test_concurrent_equal_requests_build_once() -> None:
    cache = GrammarCache(max_bytes=1000)
    entered, release = threading.Event(), threading.Event()
    builds: list[int] = []

    def build() -> CompiledGrammar:
        builds.append(1)
        entered.set()
        release.wait()
        return Sized(1)

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(cache.get, "k", build) for _ in range(4)]
        entered.wait()
        release.set()
        assert len({id(result.result()) for result in results}) == 1
    assert len(builds) == 1


def test_a_failure_reaches_the_caller_and_is_not_kept() -> None:
    cache = GrammarCache(max_bytes=1000)

    def fail() -> CompiledGrammar:
        raise GrammarError("no")

    with pytest.raises(GrammarError):
        cache.get("k", fail)
    grammar = Sized(1)
    assert cache.get("k", lambda: grammar) is grammar


def test_the_least_recently_used_is_dropped_beyond_the_limit() -> None:
    cache = GrammarCache(max_bytes=100)
    first, second = cache.get("a", lambda: Sized(40)), cache.get("b", lambda: Sized(40))
    cache.get("a", lambda: Sized(0))
    cache.get("c", lambda: Sized(40))
    assert cache.get("a", lambda: Sized(0)) is first
    assert cache.get("b", lambda: Sized(0)) is not second


def test_one_grammar_beyond_the_limit_still_serves() -> None:
    cache = GrammarCache(max_bytes=10)
    large = cache.get("large", lambda: Sized(50))
    assert cache.get("large", lambda: Sized(0)) is large
