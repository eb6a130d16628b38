"""What the decoder is held to and what the parsers read agree: random walks through the masks."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import numpy as np
import pytest

from sglang_lang.constrained.compiler import GrammarCompiler, GrammarKind
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.runtime.errors import RequestError
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.server_args import ServerArgs
from sglang_lang.runtime.text.answer import Answer
from sglang_lang.runtime.text.dialect import Conversation, Dialect, Turn
from sglang_lang.runtime.text.tool_calls.call_format import FORMATS, guess_format
from sglang_lang.runtime.text.tool_calls.tools import Tool, ToolUse, tool_use
from tests.runtime.text.echo import byte_tokenizer

EOS = 256
SHORT: dict[str, Any] = {"type": "string", "pattern": '^[a-z"\\\\]{1,3}$'}
SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/Short"}, "days": {"enum": [1, 7]}},
        "required": ["city", "days"],
        "additionalProperties": False,
        "$defs": {"Short": SHORT},
    },
    "add": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "now": {},
}
TOOLS = [Tool(name, None, schema) for name, schema in SCHEMAS.items() if schema]


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    token_bytes: list[bytes | None] = [bytes([i]) for i in range(256)]
    return GrammarCompiler(Vocabulary.from_token_bytes([*token_bytes, None], [EOS]))


def walk(compiler: GrammarCompiler, params: SamplingParams, seed: int) -> str:
    """Text whose every byte was allowed, up to an end that was allowed as well."""
    constraint = params.constraint
    assert constraint is not None
    kind: GrammarKind = constraint[0]
    matcher = compiler.compile(kind, constraint[1]).matcher()
    choose, out = random.Random(seed), bytearray()
    bitmask = np.zeros((1, 9), dtype=np.int32)
    while not matcher.is_terminated() and len(out) < 2000:
        matcher.fill_next_token_bitmask(bitmask, 0)
        bits = np.unpackbits(bitmask.view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[:257]).tolist()
        token_id = EOS if EOS in allowed else choose.choice(allowed)
        assert matcher.accept_token(token_id)
        if token_id == EOS:
            break
        out.append(token_id)
    return out.decode()


def turn(parser: str, use: ToolUse, **params: Any) -> Turn:
    dialect = Dialect.of(byte_tokenizer("x"), ServerArgs(tool_call_parser=parser))  # type: ignore[arg-type]
    return dialect.turn(Conversation([], use), SamplingParams(**params))


def read(made: Turn, text: str) -> Answer:
    answer, parser = Answer(), made.parser()
    for char in text:
        answer.add(parser.feed(char))
    answer.add(parser.finish())
    return answer


def check(answer: Answer) -> None:
    for call in answer.calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(5))
def test_calls_that_must_come_are_read_back(
    compiler: GrammarCompiler, name: str, seed: int
) -> None:
    made = turn(name, tool_use(TOOLS, "required", parallel=seed % 2 == 0))
    answer = read(made, walk(compiler, made.sampling_params, seed))
    assert answer.calls and answer.content == ""
    check(answer)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(5))
def test_an_answer_is_calls_or_keeps_its_schema(
    compiler: GrammarCompiler, name: str, seed: int
) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"enum": [1, 2]}},
        "required": ["x"],
        "additionalProperties": False,
    }
    made = turn(name, tool_use(TOOLS, "auto", parallel=False), json_schema=json.dumps(schema))
    answer = read(made, walk(compiler, made.sampling_params, seed))
    check(answer)
    if not answer.calls:
        jsonschema.validate(json.loads(answer.content), schema)


def test_a_named_function_is_the_only_one(compiler: GrammarCompiler) -> None:
    named = {"type": "function", "function": {"name": "add"}}
    made = turn("hermes", tool_use(TOOLS, named))
    [call] = read(made, walk(compiler, made.sampling_params, 0)).calls
    assert call.name == "add"


def test_strict_calls_are_held_to_their_schema_between_free_text(compiler: GrammarCompiler) -> None:
    strict = [Tool("add", None, SCHEMAS["add"], strict=True)]
    made = turn("hermes", tool_use(strict, "auto"))
    value = made.sampling_params.structural_tag
    assert value is not None
    matcher = compiler.compile("structural_tag", value).matcher()
    for byte in b'Hm.<tool_call>\n{"name": "add", "arguments": {"a": true}}\n</tool_call>':
        assert matcher.accept_token(byte)
    assert matcher.accept_token(EOS)
    other = compiler.compile("structural_tag", value).matcher()
    accepted = [other.accept_token(byte) for byte in b'<tool_call>\n{"name": "rm"']
    assert not all(accepted)


def test_a_function_without_parameters_takes_none() -> None:
    assert Tool("now").definition()["function"]["parameters"] == {
        "type": "object",
        "properties": {},
    }


@pytest.mark.parametrize("value", ["{", "3", '"x"'])
def test_a_schema_beside_tools_must_be_one(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        turn("hermes", tool_use(TOOLS, "auto"), json_schema=value)
    assert caught.value.param == "json_schema"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ '<tool_call>' }}{{ tools }}", "hermes"),
        ("[TOOL_CALLS]", "mistral"),
        ("<｜tool▁calls▁begin｜>", "deepseek"),
        ("<|python_tag|>", "llama3"),
        ("<|python_start|>", "pythonic"),
        ("{{ tools }}", "json"),
        ("{{ messages }}", "hermes"),
        (None, "hermes"),
    ],
)
def test_a_template_shows_how_its_model_calls(template: str | None, name: str) -> None:
    assert guess_format(template).name == name
