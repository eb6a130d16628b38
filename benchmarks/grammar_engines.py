"""One face for the grammar engines that ``constrained.py`` measures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.vocabularies import Tokens
from sglang_lang.constrained.backend import CompiledGrammar
from sglang_lang.constrained.batch import fill_batch
from sglang_lang.constrained.compiler import GrammarCompiler, GrammarKind
from sglang_lang.constrained.file_store import FileStore
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.constrained.vocabulary import Vocabulary

Bitmask = npt.NDArray[np.int32]
NO_CACHE = 1  # bytes
KEPT_BYTES = 1 << 30
OUTLINES_SECONDS = (
    5  # for an index, which cannot be interrupted: it is tried in a process of its own
)


class Matcher(Protocol):
    def fill(self, bitmask: Bitmask, row: int) -> None: ...

    def accept(self, token_id: int) -> bool: ...


class Grammar(Protocol):
    def matcher(self) -> Matcher: ...

    def memory_bytes(self) -> int | None: ...


class Engine(Protocol):
    name: str
    words: int

    def compile_json_schema(self, schema: str) -> Grammar: ...

    def compile_regex(self, pattern: str) -> Grammar: ...

    def fill_batch(self, matchers: Sequence[Any], bitmask: Bitmask) -> None: ...


def engines(tokens: Tokens, names: Sequence[str], kept: Path | None = None) -> Iterator[Engine]:
    """The engines of these names that are installed.

    Args:
        kept: folder in which ours keeps grammars for a later run, and finds those of an earlier.
    """
    known: dict[str, tuple[str, Callable[[Tokens], Engine]]] = {
        "ours": ("sglang_lang", partial(Ours, kept=kept)),
        "llguidance": ("llguidance", LLGuidance),
        "xgrammar": ("xgrammar", XGrammar),
        "outlines": ("outlines_core", Outlines),
    }
    for name in names:
        package, engine = known[name]
        if find_spec(package) is None:
            print(f"{name}: {package} is not installed")
        else:
            yield engine(tokens)


def ends_in_time(engine: Engine, schema: str) -> bool:
    """Whether a schema can be measured with an engine; only one takes minutes, or for ever."""
    return not isinstance(engine, Outlines) or engine.ends_in_time(schema)


def one_by_one(matchers: Sequence[Matcher], bitmask: Bitmask) -> None:
    for row, matcher in enumerate(matchers):
        matcher.fill(bitmask, row)


class OurMatcher:
    def __init__(self, matcher: GrammarMatcher) -> None:
        self.matcher = matcher
        self.fill = matcher.fill_next_token_bitmask
        self.accept = matcher.accept_token


class OurGrammar:
    def __init__(self, grammar: CompiledGrammar) -> None:
        self._grammar = grammar

    def matcher(self) -> OurMatcher:
        return OurMatcher(self._grammar.matcher())

    def memory_bytes(self) -> int:
        return self._grammar.memory_bytes


class Ours:
    """The native backend; compiled grammars are forgotten at once, except on disk.

    Args:
        tokens: the vocabulary.
        kept: folder of grammars; None keeps nothing.
    """

    name = "ours"

    def __init__(self, tokens: Tokens, kept: Path | None = None) -> None:
        store = None if kept is None else FileStore(kept, KEPT_BYTES)
        self._to_keep: list[CompiledGrammar] = []
        self._keeps = store is not None
        self.words = -(-len(tokens.token_bytes) // 32)
        vocabulary = Vocabulary.from_token_bytes(tokens.token_bytes, [tokens.eos_token_id])
        self._compiler = GrammarCompiler(
            vocabulary, json_options=JsonOptions(), cache_bytes=NO_CACHE, store=store
        )
        self._compiler.compile("ebnf", 'start: "warm-up"')  # starts what serves the refused ones
        self._compiler.warm_up()

    def compile_json_schema(self, schema: str) -> OurGrammar:
        return self._compile("json_schema", schema)

    def compile_regex(self, pattern: str) -> OurGrammar:
        return self._compile("regex", pattern)

    def _compile(self, kind: GrammarKind, value: str) -> OurGrammar:
        grammar = self._compiler.compile(kind, value)
        if self._keeps:
            self._to_keep.append(grammar)
        return OurGrammar(grammar)

    def save(self) -> None:
        """Writes what was learnt of all grammars."""
        self._compiler.save()
        self._to_keep.clear()

    def fill_batch(self, matchers: Sequence[OurMatcher], bitmask: Bitmask) -> None:
        fill_batch([matcher.matcher for matcher in matchers], bitmask)


class TokenTable:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokens: Tokens) -> None:
        self.eos_token_id = tokens.eos_token_id
        self.tokens = [token or b"" for token in tokens.token_bytes]
        self.tokens[self.eos_token_id] = b"<eos>"
        self.special_token_ids = [self.eos_token_id]
        self._encode = tokens.encode

    def __call__(self, text: bytes) -> list[int]:
        return self._encode(text.decode(errors="replace"))


class LLGuidanceMatcher:
    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher
        self.accept = matcher.consume_token

    def fill(self, bitmask: Bitmask, row: int) -> None:
        target = bitmask[row]
        self._matcher.unsafe_compute_mask_ptr(target.ctypes.data, target.nbytes)


class LLGuidanceGrammar:
    def __init__(self, prototype: Any) -> None:
        self._prototype = prototype

    def matcher(self) -> LLGuidanceMatcher:
        return LLGuidanceMatcher(self._prototype.deep_copy())

    def memory_bytes(self) -> None:
        return None


class LLGuidance:
    """One parser a request, as it is used from Python."""

    name = "llguidance"

    def __init__(self, tokens: Tokens) -> None:
        import llguidance

        self.words = -(-len(tokens.token_bytes) // 32)
        self._matcher = llguidance.LLMatcher
        self._tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(TokenTable(tokens)), n_vocab=len(tokens.token_bytes)
        )

    def compile_json_schema(self, schema: str) -> LLGuidanceGrammar:
        overrides: Any = {
            "item_separator": ", ",
            "key_separator": ": ",
            "whitespace_flexible": False,
        }
        return self._compiled(self._matcher.grammar_from_json_schema(schema, overrides=overrides))

    def compile_regex(self, pattern: str) -> LLGuidanceGrammar:
        return self._compiled(self._matcher.grammar_from_regex(pattern))

    def _compiled(self, grammar: str) -> LLGuidanceGrammar:
        matcher = self._matcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return LLGuidanceGrammar(matcher)

    def fill_batch(self, matchers: Sequence[LLGuidanceMatcher], bitmask: Bitmask) -> None:
        one_by_one(matchers, bitmask)


class XGrammarMatcher:
    def __init__(self, compiled: Any) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled)
        self.accept = self._matcher.accept_token

    def fill(self, bitmask: Bitmask, row: int) -> None:
        self._matcher.fill_next_token_bitmask(bitmask, row)


class XGrammarGrammar:
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def matcher(self) -> XGrammarMatcher:
        return XGrammarMatcher(self._compiled)

    def memory_bytes(self) -> int:
        return int(self._compiled.memory_size_bytes)


class XGrammar:
    """One compile thread, no cache."""

    name = "xgrammar"

    def __init__(self, tokens: Tokens) -> None:
        import xgrammar

        self.words = -(-len(tokens.token_bytes) // 32)
        table = [token or b"" for token in tokens.token_bytes]
        info = xgrammar.TokenizerInfo(table, stop_token_ids=[tokens.eos_token_id])
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)

    def compile_json_schema(self, schema: str) -> XGrammarGrammar:
        compiled = self._compiler.compile_json_schema(
            schema, any_whitespace=False, separators=(", ", ": "), strict_mode=False
        )
        return XGrammarGrammar(compiled)

    def compile_regex(self, pattern: str) -> XGrammarGrammar:
        return XGrammarGrammar(self._compiler.compile_regex(pattern))

    def fill_batch(self, matchers: Sequence[XGrammarMatcher], bitmask: Bitmask) -> None:
        one_by_one(matchers, bitmask)


class OutlinesMatcher:
    def __init__(self, index: Any) -> None:
        import outlines_core

        self._guide = outlines_core.Guide(index)

    def fill(self, bitmask: Bitmask, row: int) -> None:
        target = bitmask[row]
        self._guide.write_mask_into(target.ctypes.data, target.size, 4)

    def accept(self, token_id: int) -> bool:
        self._guide.advance(token_id, return_tokens=False)
        return True


class OutlinesGrammar:
    def __init__(self, index: Any) -> None:
        self._index = index

    def matcher(self) -> OutlinesMatcher:
        return OutlinesMatcher(self._index)

    def memory_bytes(self) -> None:
        return None


class Outlines:
    """outlines-core: a schema becomes a regex, a regex an index over the whole vocabulary."""

    name = "outlines-core"

    def __init__(self, tokens: Tokens) -> None:
        import outlines_core

        self.words = -(-len(tokens.token_bytes) // 32)
        table: dict[bytes | str, list[int]] = {}
        for token_id, token in enumerate(tokens.token_bytes):
            if token and token_id != tokens.eos_token_id:
                table.setdefault(token, []).append(token_id)
        self._vocabulary = outlines_core.Vocabulary(tokens.eos_token_id, table)

    def ends_in_time(self, schema: str) -> bool:
        """Whether compilation ends, one way or another, before its time is up."""
        trial = get_context("fork").Process(target=self._try, args=(schema,))
        trial.start()
        trial.join(OUTLINES_SECONDS)
        ended = not trial.is_alive()
        trial.kill()
        trial.join()
        return ended

    def _try(self, schema: str) -> None:
        with suppress(Exception):  # a refusal is found again in the measured run
            self.compile_json_schema(schema)

    def compile_json_schema(self, schema: str) -> OutlinesGrammar:
        from outlines_core.json_schema import build_regex_from_schema

        json.loads(schema)  # its own parser panics on what is not JSON
        return self.compile_regex(build_regex_from_schema(schema))

    def compile_regex(self, pattern: str) -> OutlinesGrammar:
        import outlines_core

        return OutlinesGrammar(outlines_core.Index(pattern, self._vocabulary))

    def fill_batch(self, matchers: Sequence[OutlinesMatcher], bitmask: Bitmask) -> None:
        one_by_one(matchers, bitmask)
