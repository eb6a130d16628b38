"""Walks of the trie: numba's and numpy's masks are the same, also when steps are forgotten."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from sglang_lang.constrained import trie_walk
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.machine import Machine
from sglang_lang.constrained.regex_grammar import regex_network
from sglang_lang.constrained.trie_walk import fastest_walk, numba_walk, numpy_walk
from tests.constrained.byte_grammar import VOCABULARY, allowed, json_network
from tests.constrained.test_machine import REGEXES, SCHEMAS

pytest.importorskip("numba")


def masks(machine: Machine, seed: int) -> list[list[int]]:
    """The masks on the way of a random text."""
    rng, state = np.random.default_rng(seed), machine.start
    found = [allowed(machine, state)]
    while found[-1] and len(found) < 12:
        state = machine.advance_token(state, int(rng.choice(found[-1])))
        found.append(allowed(machine, state))
    return found


@settings(max_examples=40, deadline=None, derandomize=True)
@given(REGEXES, st.integers(0, 2**32 - 1))
def test_walks_of_any_regex_agree(pattern: str, seed: int) -> None:
    try:
        network = regex_network(pattern)
    except GrammarError:  # an assertion in a repeat, or one that nothing satisfies
        reject()
    by_numpy, by_numba = (
        masks(Machine(network, VOCABULARY, walk), seed) for walk in (numpy_walk, numba_walk())
    )
    assert by_numpy == by_numba


@pytest.mark.parametrize("index", range(len(SCHEMAS)))
def test_walks_of_schemas_agree_however_little_is_remembered(
    index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = (numpy_walk, numba_walk())
    network = json_network(SCHEMAS[index])
    remembering = [masks(Machine(network, VOCABULARY, walk), index) for walk in walks]
    monkeypatch.setattr(trie_walk, "MAX_ROWS", 0)
    forgetting = [masks(Machine(network, VOCABULARY, walk), index) for walk in walks]
    assert remembering[0] == remembering[1] == forgetting[0] == forgetting[1]


def test_numpy_serves_where_numba_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fastest_walk() is numba_walk()
    numba_walk.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    assert fastest_walk() is numpy_walk
