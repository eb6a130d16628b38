"""The outlines backend: regexes, and JSON Schemas as regexes, through outlines-core's index.

Kept for comparison and for schemas written for it; the only file of the server that needs
outlines-core. Its masks are known to be wrong in places (docs/structured_output.md): in version
0.2.14 an index lacks the tokens that end in a state whose match is seen one byte late, and its
reading of JSON Schema passes over some keywords.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .backend import GrammarBackend, JsonSchema
from .errors import GrammarError, UnsupportedGrammarError
from .json_options import JsonOptions
from .masks import MaskTable
from .matcher import AutomatonMatcher
from .outlines_compile import LENGTH, WRONG_PATTERN
from .vocabulary import Bitmask, Row, Vocabulary

COMPILE_SECONDS = 2  # of the compiling process's CPU time
COMPILE_BYTES = 4 << 30  # of its address space
COMPILE_SCRIPT = Path(__file__).with_name("outlines_compile.py")
MAX_FORCED = 4096
FEW = 256  # allowed tokens among which a forced byte is looked for
BYTES_OF_STATES = 8  # in memory, for each byte of a serialised index
METACHARACTERS = re.compile(r"[\\.+*?()|\[\]{}^$#&~-]")


class OutlinesBackend(GrammarBackend):
    """Compiles each pattern to a table over all tokens, in a process that its limits may end.

    Args:
        vocabulary: the tokens.

    Raises:
        ImportError: outlines-core is not installed.
    """

    kinds = frozenset(("regex", "choices", "json_schema"))

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        ids: dict[bytes, list[int]] = {}
        for token_id in vocabulary.order.tolist():
            ids.setdefault(vocabulary.token_bytes[token_id] or b"", []).append(token_id)
        eos = vocabulary.eos_token_ids[0]
        self._outlines = importlib.import_module("outlines_core")  # optional, so not imported above
        _, (self._binary,) = self._outlines.Vocabulary(eos, ids).__reduce__()

    def compile_regex(self, pattern: str) -> IndexGrammar:
        command = [sys.executable, "-P", str(COMPILE_SCRIPT)]
        limits = [str(COMPILE_SECONDS), str(COMPILE_BYTES)]
        data = LENGTH.pack(len(self._binary)) + self._binary + pattern.encode()
        done = subprocess.run([*command, *limits], input=data, capture_output=True, check=False)
        if done.returncode == WRONG_PATTERN:
            raise GrammarError(f"outlines: {done.stderr.decode().strip()}")
        if done.returncode:
            raise GrammarError(
                f"outlines: the pattern takes more than {COMPILE_SECONDS} s or "
                f"{COMPILE_BYTES >> 30} GiB to compile"
            )
        index = self._outlines.Index.from_binary(done.stdout)
        return IndexGrammar(index, BYTES_OF_STATES * len(done.stdout), self._vocabulary)

    def compile_choices(self, choices: Sequence[str]) -> IndexGrammar:
        return self.compile_regex(
            "|".join(METACHARACTERS.sub(r"\\\g<0>", choice) for choice in choices)
        )

    def compile_json_schema(self, schema: JsonSchema, options: JsonOptions) -> IndexGrammar:
        """``options`` choose whether spaces may stand between tokens; it cannot ask for them."""
        space = "[ ]?" if " " in options.item_separator + options.key_separator else ""
        if options.max_whitespace:
            space = rf"[ \n\r\t]{{0,{options.max_whitespace}}}"
        try:
            pattern = self._outlines.json_schema.build_regex_from_schema(
                schema.text, whitespace_pattern=space
            )
        except ValueError as error:
            raise UnsupportedGrammarError(f"outlines: {error}") from error
        return self.compile_regex(pattern)


class IndexGrammar:
    """One index, shared by the requests that use it.

    Args:
        index: of outlines-core.
        index_bytes: what it holds.
        vocabulary: the tokens.
    """

    warnings = ()

    def __init__(self, index: Any, index_bytes: int, vocabulary: Vocabulary) -> None:
        self._automaton = IndexAutomaton(index, vocabulary)
        self._vocabulary = vocabulary
        self._index_bytes = index_bytes

    @property
    def memory_bytes(self) -> int:
        return self._index_bytes + self._automaton.masks.memory_bytes

    def matcher(self) -> AutomatonMatcher:
        return AutomatonMatcher(self._automaton, self._vocabulary)


class IndexAutomaton:
    """An index as an ``Automaton``; its states are the index's own plus one.

    It advances by whole tokens only, which is all that a matcher asks of it.
    """

    def __init__(self, index: Any, vocabulary: Vocabulary) -> None:
        self._index = index
        self._vocabulary = vocabulary
        self._ids = {
            vocabulary.token_bytes[token_id] or b"": token_id
            for token_id in vocabulary.order.tolist()
        }
        self.start = index.get_initial_state() + 1
        self.masks = MaskTable(self._mask, vocabulary)

    def advance(self, state: int, text: bytes) -> int:
        token_id = self._ids.get(text)
        following = None if token_id is None else self._index.get_next_state(state - 1, token_id)
        return 0 if following is None else following + 1

    def advance_token(self, state: int, token_id: int) -> int:
        return self.advance(state, self._vocabulary.token_bytes[token_id] or b"")

    def is_accepting(self, state: int) -> bool:
        return bool(self._index.is_final_state(state - 1))

    def is_finished(self, state: int) -> bool:
        return self.is_accepting(state) and not self._allowed_ids(state)

    def forced(self, state: int) -> bytes:
        forced = bytearray()
        while state and len(forced) < MAX_FORCED and not self.is_accepting(state):
            allowed = self._allowed_ids(state)
            texts = [self._vocabulary.token_bytes[token_id] or b"" for token_id in allowed[:FEW]]
            first = {text[:1] for text in texts}
            if len(allowed) > FEW or len(first) != 1:
                break
            byte = first.pop()
            state = self.advance(state, byte)
            forced += byte if state else b""
        return bytes(forced)

    def fill(self, state: int, bitmask: Bitmask, row: int) -> None:
        bitmask[row] = self.masks.row(state)

    def _mask(self, state: int) -> Row:
        ends = self._vocabulary.eos_token_ids if self.is_accepting(state) else ()
        return self._vocabulary.row_of(np.array([*self._allowed_ids(state), *ends], np.int32))

    def _allowed_ids(self, state: int) -> list[int]:
        allowed = self._index.get_allowed_tokens(state - 1) or []
        return [i for i in allowed if i not in self._vocabulary.eos_token_ids]
