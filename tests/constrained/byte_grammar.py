"""What the tests of grammars share: a vocabulary of bytes and some words, and ways to use it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.json_schema.network import JsonNetwork
from sglang_lang.constrained.json_text import parse_json
from sglang_lang.constrained.machine import Machine
from sglang_lang.constrained.matcher import Automaton
from sglang_lang.constrained.native_machine import NativeMachine, NativeVocabulary
from sglang_lang.constrained.network import Network
from sglang_lang.constrained.vocabulary import Vocabulary

EOS = 256
WORDS = [
    *(b'": "', b'", "', b'": ', b'{"', b'"}', b"}, ", b'": {', b'": [', b'"], ', b"1, 1", b"0, 0"),
    *(b"true", b"null}", b"ab", b"abc", b"aaaaaaaa", b'a": 1, "a": ', b'"a", "a"', b"-1", b".5"),
    *("é".encode(), "日本".encode(), "日".encode()[:2], b"\xa5\xe6"),
]
VOCABULARY = Vocabulary.from_token_bytes([*(bytes([b]) for b in range(256)), None, *WORDS], [EOS])
NATIVE = NativeVocabulary(VOCABULARY)
SPEC = JsonOptions(any_order=True, integer_fraction=True, assert_formats=False)


def python_machine(network: Network) -> Machine:
    return Machine(network, VOCABULARY)


def native_machine(network: Network) -> NativeMachine:
    return NativeMachine(lambda: network, NATIVE)


def json_network(schema: Any, options: JsonOptions | None = None) -> JsonNetwork:
    """The network of a schema given as Python data."""
    text = json.dumps(schema)
    parsed = parse_json(text, "json_schema", max_len=10_000_000, max_depth=256)
    return JsonNetwork(parsed, options or JsonOptions())


def json_machine(schema: Any, options: JsonOptions | None = None) -> NativeMachine:
    return native_machine(json_network(schema, options))


def admits(machine: Automaton, text: str | bytes) -> bool:
    """Whether the machine takes the whole text and may end after it."""
    state = machine.advance(machine.start, text.encode() if isinstance(text, str) else text)
    return state != 0 and machine.is_accepting(state)


def token_ids(row: np.ndarray[Any, np.dtype[np.int32]]) -> list[int]:
    """The tokens of a mask row."""
    found: list[int] = np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist()
    return found


def allowed(machine: Automaton, state: int) -> list[int]:
    """The tokens of a state's mask that have bytes."""
    bitmask = np.zeros((1, VOCABULARY.row_len), np.int32)
    machine.fill(state, bitmask, 0)
    found = token_ids(bitmask[0])
    assert (EOS in found) == machine.is_accepting(state)
    return [token_id for token_id in found if token_id != EOS]


def random_walk(
    machine: Automaton, rng: np.random.Generator, max_tokens: int = 160
) -> bytes | None:
    """Text of random allowed tokens up to a possible end; None where it did not end in time."""
    state, text = machine.start, b""
    for step in range(max_tokens):
        closing = step > max_tokens // 4
        if machine.is_finished(state) or (
            machine.is_accepting(state) and (closing or rng.random() < 0.2)
        ):
            return text
        choices = allowed(machine, state)
        assert choices, f"a dead end after {text!r}"
        if closing:  # prefer what ends strings, lists and objects
            choices = [t for t in choices if t < EOS and chr(t) in '"]},:'] or choices
        token = VOCABULARY.token_bytes[int(rng.choice(choices))]
        assert token is not None
        text += token
        state = machine.advance(state, token)
    return None
