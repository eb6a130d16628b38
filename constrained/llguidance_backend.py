"""The llguidance backend: serves EBNF, Lark and structural tags, and JSON Schemas native refuses.

The only file that imports llguidance. It knows nothing of caches or limits (compiler.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import llguidance
import numpy as np
import numpy.typing as npt

from .backend import GrammarBackend, JsonSchema
from .errors import GrammarError
from .json_options import JsonOptions
from .matcher import whole_characters
from .structural_tag import StructuralTag
from .tool_calls import ToolCalls
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

ANY_TEXT = r"(.|\n)*"
# Forced text may be spelled by any tokens: llguidance would hold it to the byte-by-byte encoding
# below, which no model would choose.
EVERY_TOKEN = '%llguidance {"no_forcing": true}'
BYTES_PER_GRAMMAR_CHARACTER = 16  # llguidance does not tell its size; its parser tables dominate


class LLGuidanceGrammar:
    """One grammar compiled by llguidance, shared by the requests that use it.

    Args:
        prototype: a matcher in the initial state, copied for each request.
        vocabulary: the tokens the masks speak of.
        source_len: characters of llguidance's own form of the grammar, for the size estimate.
    """

    warnings = ()

    def __init__(
        self, prototype: llguidance.LLMatcher, vocabulary: Vocabulary, source_len: int
    ) -> None:
        self._prototype = prototype
        self._vocabulary = vocabulary
        self.memory_bytes = 65536 + BYTES_PER_GRAMMAR_CHARACTER * source_len

    def matcher(self) -> LLGuidanceMatcher:
        return LLGuidanceMatcher(self._prototype.deep_copy(), self._vocabulary)


class LLGuidanceMatcher:
    """``GrammarMatcher`` of one request over llguidance.

    Where it is weaker than the native matcher: ``forced`` may be shorter than what the grammar
    forces (llguidance stops at lexeme borders it has not resolved), and ``require_prefix`` takes
    the caller's word that the grammar admits the withheld bytes.
    """

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: Vocabulary) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._withheld = b""
        self._withheld_before: list[bytes] = []  # per accepted token, for rollback
        self._ended = False

    @property
    def num_constrained(self) -> int:
        return len(self._withheld_before)

    def accept_token(self, token_id: int) -> bool:
        """Advances by one token; False, and no change, where the grammar forbids it."""
        is_eos = token_id in self._vocabulary.eos_token_ids
        rest = b"" if is_eos else self._withheld_after(token_id)
        if self._ended or rest is None or (is_eos and self._withheld):
            return False
        if is_eos:
            if not self._matcher.is_accepting():
                return False
        elif self._matcher.validate_tokens([token_id]) != 1:
            return False
        if not self._matcher.consume_token(token_id):
            return False  # one of its limits is exceeded, and it is of no more use
        self._withheld_before.append(self._withheld)
        self._withheld = rest
        self._ended = is_eos
        return True

    def _withheld_after(self, token_id: int) -> bytes | None:
        """What is still withheld after this token, or None where the token contradicts it."""
        text = self._vocabulary.token_bytes[token_id]
        if text is None:
            return None
        if self._withheld.startswith(text):
            return self._withheld[len(text) :]
        return b"" if text.startswith(self._withheld) else None

    def fill_next_token_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        """Writes the allowed tokens into ``bitmask[row]``, int32 ``[rows, ceil(V/32)]``."""
        target = bitmask[row]
        if self._ended or self._matcher.is_error():
            target[:] = 0
            return
        self._matcher.unsafe_compute_mask_ptr(target.ctypes.data, target.nbytes)
        if self._withheld:
            target &= self._vocabulary.prefix_row(self._withheld)

    def forced(self) -> bytes:
        """Bytes that must come next, whole UTF-8 characters only."""
        if self._ended or self._matcher.is_error():
            return b""
        forced = self._matcher.compute_ff_bytes()
        if len(forced) < len(self._withheld):
            forced = self._withheld
        return whole_characters(forced)

    def is_accepting(self) -> bool:
        return not self._withheld and self._matcher.is_accepting()

    def is_terminated(self) -> bool:
        return self._ended or (not self._withheld and self._matcher.is_stopped())

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last ``num_tokens`` accepted tokens, EOS included."""
        if num_tokens == 0:
            return
        if num_tokens > len(self._withheld_before):
            raise ValueError(
                f"rollback of {num_tokens} tokens, only {len(self._withheld_before)} were accepted"
            )
        self._matcher.rollback(num_tokens)
        self._withheld = self._withheld_before[-num_tokens]
        del self._withheld_before[-num_tokens:]
        self._ended = False

    def fork(self) -> LLGuidanceMatcher:
        copy = LLGuidanceMatcher(self._matcher.deep_copy(), self._vocabulary)
        copy._withheld = self._withheld
        copy._withheld_before = list(self._withheld_before)
        copy._ended = self._ended
        return copy

    def require_prefix(self, withheld: bytes) -> None:
        """The next tokens must spell ``withheld`` first (token healing after a rollback)."""
        self._withheld = withheld


class LLGuidanceBackend(GrammarBackend):
    """Compiles grammars with llguidance for one vocabulary.

    Args:
        vocabulary: the tokens; llguidance's own trie over them is built once, here.
    """

    kinds = frozenset(("regex", "choices", "json_schema", "ebnf", "structural_tag", "tool_calls"))

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_TokenTable(vocabulary)),
            n_vocab=vocabulary.size,
            eos_token=list(vocabulary.eos_token_ids),
        )

    def compile_regex(self, pattern: str) -> LLGuidanceGrammar:
        """Compiles a pattern in the syntax of Rust's regex crate, matched as a whole."""
        grammar = json.loads(llguidance.LLMatcher.grammar_from_regex(pattern))
        return self._compile(grammar["grammars"][0]["lark_grammar"], "regex")

    def compile_choices(self, choices: Sequence[str]) -> LLGuidanceGrammar:
        """Compiles the finite language of the given strings."""
        lark = "start: " + " | ".join(json.dumps(choice) for choice in choices)
        return self._compile(lark, "choices")

    def compile_ebnf(self, grammar: str) -> LLGuidanceGrammar:
        """Compiles a context-free grammar, in Lark's syntax or in GBNF (``root ::= ...``)."""
        try:
            # Imported here because it costs every start a tenth of a second.
            from llguidance.gbnf_to_lark import any_to_lark

            lark = any_to_lark(grammar)
        except Exception as error:  # the converter raises its own private types
            raise GrammarError(f"ebnf: {error}") from error
        return self._compile(lark, "ebnf")

    def compile_json_schema(self, schema: JsonSchema, options: JsonOptions) -> LLGuidanceGrammar:
        """Compiles a JSON Schema; what llguidance lacks is refused."""
        value = schema.value if isinstance(schema.value, dict) else {"allOf": [schema.value]}
        with_options = {**value, "x-guidance": _json_options(options)}
        return self._compile("start: %json " + JsonSchema.of(with_options).text, "json_schema")

    def compile_structural_tag(self, tag: StructuralTag, options: JsonOptions) -> LLGuidanceGrammar:
        """Compiles free text with tagged sections that follow a schema each."""
        overrides = _json_options(options)
        tags = [
            llguidance.StructTag(
                trigger=section.trigger,
                begin=section.begin,
                grammar={**section.schema, "x-guidance": overrides},
                end=section.end,
            )
            for section in tag.sections
        ]
        lark = llguidance.StructTag.to_grammar(tags, assume_special=False, text_regex=ANY_TEXT)
        return self._compile(lark, "structural_tag")

    def compile_tool_calls(self, calls: ToolCalls, options: JsonOptions) -> LLGuidanceGrammar:
        """Compiles framed calls; see tool_calls.py."""
        overrides = _json_options(options)
        schemas = [
            "%json " + JsonSchema.of({**call, "x-guidance": overrides}).text
            for call in calls.schemas
        ]
        begin, end, separator = _quoted(calls.begin), _quoted(calls.end), _quoted(calls.separator)
        most = "" if calls.max_calls is None else calls.max_calls - 1
        listed = "call" if most == 0 else f"call more{{{max(calls.min_calls - 1, 0)},{most}}}"
        if calls.min_calls == 0:
            listed = f"({listed})?"
        rules = (
            f"start: {_quoted(calls.opening)} {listed} {_quoted(calls.closing)}",
            f"call: {begin} ({' | '.join(schemas)}) {end}",
            f"more: {separator} call",
        )
        return self._compile("\n".join(rules), "tool_calls")

    def _compile(self, lark: str, kind: str) -> LLGuidanceGrammar:
        grammar = llguidance.LLMatcher.grammar_from_lark(f"{lark}\n{EVERY_TOKEN}")
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise GrammarError(f"{kind}: {_first_lines(matcher.get_error())}")
        return LLGuidanceGrammar(matcher, self._vocabulary, len(grammar))


class _TokenTable:
    """The tokenizer that llguidance asks for: the token table and a byte-by-byte encoding.

    Masks need the table alone; llguidance would encode text only to propose forced *tokens*,
    and this backend asks it for forced bytes.
    """

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.eos_token_ids[0]
        self.tokens = [token or b"" for token in vocabulary.token_bytes]
        self.special_token_ids = list(vocabulary.eos_token_ids)
        for token_id in vocabulary.eos_token_ids:
            self.tokens[token_id] = b"<eos:%d>" % token_id
        self._ids = {
            token: token_id
            for token_id, token in enumerate(vocabulary.token_bytes)
            if token is not None and len(token) == 1
        }

    def __call__(self, text: bytes) -> list[int]:
        return [self._ids[text[i : i + 1]] for i in range(len(text))]


def _quoted(text: str) -> str:
    """Lark's spelling of a literal."""
    return json.dumps(text, ensure_ascii=False)


def _json_options(options: JsonOptions) -> JsonCompileOptions:
    return {
        "item_separator": options.item_separator,
        "key_separator": options.key_separator,
        "whitespace_flexible": options.max_whitespace > 0,
        "whitespace_pattern": rf"[\x20\x0A\x0D\x09]{{0,{options.max_whitespace}}}",
    }


def _first_lines(error: str) -> str:
    """The part of llguidance's report that speaks of the user's grammar, not of its own state."""
    return error.split("\n<state>")[0].strip()
