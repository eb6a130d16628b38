"""The compiler: every kind, one compilation for equal requests, bounded input."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from sglang_lang.constrained.compiler import (
    GrammarCompiler,
    GrammarLimits,
)
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.kernels.native import NoCompilerError

VOCABULARY = Vocabulary.from_token_bytes([*(bytes([b]) for b in range(256)), None], [256])


@pytest.fixture(scope="module", params=["native", "llguidance", "outlines"])
def compiler(request: pytest.FixtureRequest) -> GrammarCompiler:
    return GrammarCompiler(VOCABULARY, request.param)


def test_every_kind_compiles(compiler: GrammarCompiler) -> None:
    tag = {"structures": [{"begin": "<f>", "schema": {}, "end": "</f>"}], "triggers": ["<f"]}
    calls: dict[str, object] = {
        "opening": "[",
        "begin": "",
        "end": "",
        "separator": ",",
        "closing": "]",
    }
    calls |= {"calls": [{"type": "object", "maxProperties": 0}], "min": 1, "max": None}
    texts = {
        compiler.compile("regex", "a+"): b"aa",
        compiler.compile("choices", ["yes", "no"]): b"no",
        compiler.compile("ebnf", 'start: "x"+'): b"xx",
        compiler.compile("json_schema", '{"type": "null"}'): b"null",
        compiler.compile("structural_tag", json.dumps(tag)): b"free <f>1</f>",
        compiler.compile("tool_calls", json.dumps(calls)): b"[{},{}]",
    }
    for grammar, text in texts.items():
        matcher = grammar.matcher()
        assert all(matcher.accept_token(byte) for byte in text) and matcher.is_accepting()


def test_an_equal_request_gets_the_same_grammar(compiler: GrammarCompiler) -> None:
    assert compiler.compile("regex", "b+") is compiler.compile("regex", "b+")
    assert compiler.compile("choices", ["a", "b"]) is compiler.compile("choices", ("a", "b"))
    assert compiler.compile("regex", "null") is not compiler.compile("ebnf", 'start: "null"')


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("regex", "a" * 70_000),
        ("regex", "a\0b"),
        ("regex", "\ud800"),
        ("choices", []),
        ("choices", ["a"] * 10_001),
        ("choices", ["\udfff"]),
        ("json_schema", "{"),
        ("json_schema", "[]"),
        ("json_schema", "3"),
        ("json_schema", '{"minimum": NaN}'),
        ("json_schema", '{"minimum": 1' + "0" * 5000 + "}"),
        ("json_schema", '{"type": "string"}\0'),
        ("json_schema", '{"a": ' * 10_000 + "1" + "}" * 10_000),
        ("json_schema", "[" * 10_000),
        ("json_schema", json.dumps({"description": "x" * 10_000_000})),
        ("ebnf", "x" * 300_000),
        ("structural_tag", "[]"),
        ("structural_tag", '{"structures": [], "triggers": ["a"]}'),
        ("structural_tag", '{"structures": [{"begin": "a"}], "triggers": ["a"]}'),
        ("structural_tag", '{"type": "structural_tag", "format": {"type": "any_text"}}'),
        ("tool_calls", "{}"),
    ],
)
def test_wrong_or_hostile_input_ends_in_a_clear_error(
    compiler: GrammarCompiler, kind: str, value: str | list[str]
) -> None:
    started = time.thread_time()
    with pytest.raises(GrammarError) as caught:
        compiler.compile(kind, value)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 500
    assert time.thread_time() - started < 10  # a bound on hostile input, not a measurement


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("regex", ".{0,100000}"),
        ("regex", "(a|a)*b"),
        ("regex", "((a{0,50}){0,50}){0,50}"),
        ("json_schema", json.dumps({"anyOf": [{"$ref": "#/$defs/a"}] * 50, "$defs": {"a": {}}})),
        ("json_schema", json.dumps({"properties": {str(i): {"$ref": "#"} for i in range(2000)}})),
        ("json_schema", json.dumps({"type": "string", "maxLength": 10**9})),
        ("json_schema", json.dumps({"enum": [f"word{i}" for i in range(5000)]})),
    ],
)
def test_large_languages_compile_and_give_a_mask_quickly(kind: str, value: str) -> None:
    started = time.thread_time()
    matcher = GrammarCompiler(VOCABULARY).compile(kind, value).matcher()  # type: ignore[arg-type]
    row = np.zeros((1, VOCABULARY.row_len), np.int32)
    matcher.fill_next_token_bitmask(row, 0)
    assert row.any()
    assert time.thread_time() - started < 10  # a bound on hostile input, not a measurement


def test_branches_that_multiply_end_in_an_error_in_time() -> None:
    branches = [
        {"properties": {f"p{i}": {"type": t}, "q": {"minimum": i}}, "minProperties": i}
        for i in range(12)
        for t in ("string", "integer")
    ]
    nested = {"oneOf": [{"oneOf": branches}, {"not": {"oneOf": branches}}]}
    schema = {"properties": {str(i): {**nested, "title": str(i)} for i in range(40)}}
    started = time.thread_time()
    with pytest.raises(GrammarError):
        GrammarCompiler(VOCABULARY).compile("json_schema", json.dumps(schema))
    assert time.thread_time() - started < 10  # a bound on hostile input, not a measurement


def test_what_native_refuses_goes_to_llguidance_or_is_refused_by_name() -> None:
    compiler = GrammarCompiler(VOCABULARY)
    with pytest.raises(GrammarError, match="uniqueItems") as caught:
        compiler.compile("json_schema", '{"type": "array", "uniqueItems": true}')
    assert caught.value.keyword == "uniqueItems"


def test_without_a_compiler_grammars_run_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(vocabulary: Vocabulary) -> None:
        raise NoCompilerError("none here")

    monkeypatch.setattr("sglang_lang.constrained.native_backend.NativeVocabulary", no_compiler)
    with pytest.warns(RuntimeWarning, match="none here.*slower"):
        matcher = GrammarCompiler(VOCABULARY).compile("regex", "ab?").matcher()
    assert matcher.accept_token(ord("a")) and matcher.is_accepting()


def test_an_unknown_kind_is_named(compiler: GrammarCompiler) -> None:
    with pytest.raises(GrammarError, match="yaml"):
        compiler.compile("yaml", "a: b")  # type: ignore[arg-type]


def test_limits_can_be_set() -> None:
    compiler = GrammarCompiler(VOCABULARY, "llguidance", limits=GrammarLimits(max_json_depth=2))
    with pytest.raises(GrammarError, match="deeper than 2"):
        compiler.compile("json_schema", '{"a": {"b": {}}}')


def test_json_is_spelled_as_the_request_asks() -> None:
    compiler = GrammarCompiler(VOCABULARY)
    schema = '{"properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["a", "b"]}'
    schema = schema.replace("{", '{"type": "object", ', 1)
    spaced = compiler.compile("json_schema", schema, whitespace="spaced").matcher()
    compact = compiler.compile("json_schema", schema, whitespace="compact").matcher()
    assert spaced.forced().startswith(b'{"a": 1, "b": 2')
    assert compact.forced().startswith(b'{"a":1,"b":2')


@pytest.mark.parametrize("kind", ["json_schema", "tool_calls"])
def test_without_strict_what_is_not_enforced_is_named(kind: str) -> None:
    array = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    frame = {"opening": "", "begin": "<", "end": ">", "separator": "", "closing": ""}
    value = array if kind == "json_schema" else {**frame, "calls": [array], "min": 1, "max": 1}
    compiler = GrammarCompiler(VOCABULARY)
    with pytest.raises(GrammarError, match="uniqueItems"):
        compiler.compile(kind, json.dumps(value))  # type: ignore[arg-type]
    grammar = compiler.compile(kind, json.dumps(value), strict=False)  # type: ignore[arg-type]
    assert len(grammar.warnings) == 1 and "uniqueItems at /properties/a" in grammar.warnings[0]
    text = b'{"a": [1, 1]}' if kind == "json_schema" else b'<{"a": [1, 1]}>'
    matcher = grammar.matcher()
    assert all(map(matcher.accept_token, text)) and matcher.is_accepting()
    assert not compiler.compile("json_schema", '{"type": "null"}', strict=False).warnings
