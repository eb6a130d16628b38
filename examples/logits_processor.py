"""Constrained generation with transformers: the grammars alone, in a LogitsProcessor.

python examples/logits_processor.py
"""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LogitsProcessor

from sglang_lang.constrained.api import (
    CompiledGrammar,
    GrammarMatcher,
    Vocabulary,
    allocate_bitmask,
    allowed_tokens,
    compile_json_schema,
    vocabulary_of,
)
from sglang_lang.runtime.checkpoints.embedded import fetch_embedded_model

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "country": {"enum": ["France", "Italy", "Spain"]},
        "population": {"type": "integer", "minimum": 1, "maximum": 99999999},
    },
    "required": ["city", "country", "population"],
    "additionalProperties": False,
}
PROMPTS = ["The largest city of France as JSON:\n", "A town in Spain that I like, as JSON:\n"]


class GrammarLogitsProcessor(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Allows each sequence of a batch only what the grammar admits next.

    Args:
        grammar: of all sequences.
        vocabulary: it was compiled for.
        prompt_len: tokens of the padded prompts.
    """

    def __init__(self, grammar: CompiledGrammar, vocabulary: Vocabulary, prompt_len: int) -> None:
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._taken = prompt_len  # tokens that the matchers have seen, or that come before them
        self._matchers: list[GrammarMatcher] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self._matchers:
            self._matchers = [self._grammar.matcher() for _ in range(len(input_ids))]
        for sequence, matcher in zip(input_ids, self._matchers, strict=True):
            for token_id in sequence[self._taken :].tolist():
                matcher.accept_token(token_id)
        self._taken = input_ids.shape[1]
        bitmask = allocate_bitmask(len(self._matchers), self._vocabulary)
        for row, matcher in enumerate(self._matchers):
            matcher.fill_next_token_bitmask(bitmask, row)
            if bitmask[row].any():  # else it has ended, and what follows is padding
                allowed = torch.from_numpy(allowed_tokens(bitmask[row])[: scores.shape[1]])
                scores[row, ~allowed] = -torch.inf
        return scores


def main() -> None:
    path = fetch_embedded_model()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    vocabulary = vocabulary_of(tokenizer, vocab_size=model.config.vocab_size)
    grammar = compile_json_schema(SCHEMA, vocabulary)
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    prompt_len = inputs["input_ids"].shape[1]
    outputs = model.generate(
        **inputs,
        do_sample=False,
        max_new_tokens=60,
        eos_token_id=tokenizer.eos_token_id,
        logits_processor=[GrammarLogitsProcessor(grammar, vocabulary, prompt_len)],
    )
    for text in tokenizer.batch_decode(outputs[:, prompt_len:], skip_special_tokens=True):
        print(json.loads(text))


if __name__ == "__main__":
    main()
