"""Generated schemas: their instances are admitted, what is no instance is not, walks validate."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from sglang_lang.constrained.backend import JsonSchema
from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.llguidance_backend import LLGuidanceBackend
from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.constrained.native_machine import NativeMachine
from tests.constrained.byte_grammar import (
    EOS,
    SPEC,
    VOCABULARY,
    admits,
    json_machine,
    random_walk,
    token_ids,
)
from tests.constrained.json_schema.generated import (
    combined,
    in_order,
    ordered_schemas,
    schemas,
    spelled,
)
from tests.constrained.json_schema.instances import draw_instance

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
LLGUIDANCE = LLGuidanceBackend(VOCABULARY)
several = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def machine_of(schema: Any, options: JsonOptions) -> NativeMachine:
    """The machine of a schema; one that is refused is no example."""
    try:
        return json_machine(schema, options)
    except GrammarError:
        reject()


@several
@given(ordered_schemas(), st.data())
def test_instances_in_the_order_of_declaration_are_admitted(
    schema: Any, data: st.DataObject
) -> None:
    machine = machine_of(schema, JsonOptions())
    text = spelled(in_order(draw_instance(data, schema), schema))
    assert admits(machine, text), (schema, text)


@several
@given(ordered_schemas(), st.data())
def test_instances_in_any_order_are_admitted_where_that_is_asked(
    schema: Any, data: st.DataObject
) -> None:
    machine = machine_of(schema, SPEC)
    text = spelled(draw_instance(data, schema))
    assert admits(machine, text), (schema, text)


@several
@given(ordered_schemas(), st.data())
def test_values_are_admitted_by_a_combination_of_schemas_exactly_if_they_satisfy_it(
    schema: Any, data: st.DataObject
) -> None:
    combination = data.draw(combined(st.just(schema) | ordered_schemas()))
    machine = machine_of(combination, SPEC)
    value = draw_instance(data, schema)
    valid = jsonschema.Draft7Validator(combination).is_valid(value)
    assert admits(machine, spelled(value)) == valid, (combination, value)


@several
@given(schemas(), st.integers(0, 2**32 - 1))
def test_walks_through_the_masks_of_generated_schemas_validate(schema: Any, seed: int) -> None:
    machine = machine_of(schema, SPEC)
    text = random_walk(machine, np.random.default_rng(seed), 60)
    if text is None:
        reject()
    jsonschema.Draft7Validator(schema).validate(json.loads(text))


@several
@given(ordered_schemas(), st.integers(0, 2**32 - 1))
def test_what_llguidance_spells_is_admitted(schema: Any, seed: int) -> None:
    """In our spelling: llguidance escapes characters that need not be, and has a minus zero."""
    machine = machine_of(schema, JsonOptions())
    try:
        grammar = LLGUIDANCE.compile_json_schema(JsonSchema.of(schema), JsonOptions())
    except GrammarError:
        reject()
    text = text_of(grammar.matcher(), np.random.default_rng(seed))
    if text is None:
        reject()
    value = json.loads(text, parse_float=Decimal)
    assume(jsonschema.Draft7Validator(schema).is_valid(json.loads(text)))
    assert admits(machine, spelled(value)), (schema, text)


def text_of(matcher: GrammarMatcher, rng: np.random.Generator) -> bytes | None:
    """Random allowed tokens, those that end strings, lists and objects first after a while."""
    bitmask, text = np.zeros((1, VOCABULARY.row_len), np.int32), b""
    for step in range(80):
        if matcher.is_terminated() or (
            matcher.is_accepting() and (step > 20 or rng.random() < 0.2)
        ):
            return text
        matcher.fill_next_token_bitmask(bitmask, 0)
        choices = [token_id for token_id in token_ids(bitmask[0]) if token_id != EOS]
        if step > 20:
            choices = [t for t in choices if t < EOS and chr(t) in '"]},:'] or choices
        token_id = int(rng.choice(choices))
        assert matcher.accept_token(token_id)
        text += VOCABULARY.token_bytes[token_id] or b""
    return None
