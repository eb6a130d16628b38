"""Grammars in the loop of an engine of one's own, as vLLM's scheduler and worker split the work.

The scheduler keeps a matcher for each request: it fills the masks of a whole batch while the model
computes, takes the sampled tokens in, and appends forced text without asking the model. The model
is random numbers here, so every word is chance and every output is right.
python examples/own_engine.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sglang_lang.constrained.api import (
    GrammarMatcher,
    Vocabulary,
    allocate_bitmask,
    allowed_tokens,
    compile_json_schema,
    compile_regex,
    fill_batch,
)
from sglang_lang.runtime.checkpoints.checkpoint import open_checkpoint

PATTERN = r"(Mon|Tues|Fri)day, (1[0-2]|[1-9]):[0-5][0-9] (am|pm)"
SCHEMA = {
    "type": "object",
    "properties": {"room_number": {"type": "integer", "maximum": 99}, "free": {"type": "boolean"}},
    "required": ["room_number", "free"],
    "additionalProperties": False,
}


@dataclass
class Request:
    """One output as it grows."""

    matcher: GrammarMatcher
    output: bytearray = field(default_factory=bytearray)
    steps: int = 0


class Model:
    """Stands for the worker: logits of a batch, and a draw under the masks."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocab_size = vocabulary.size
        self._random = np.random.default_rng(7)

    def forward(self, batch: int) -> npt.NDArray[np.float64]:
        return self._random.normal(size=(batch, self._vocab_size))

    def sample(self, logits: npt.NDArray[np.float64], bitmask: npt.NDArray[np.int32]) -> list[int]:
        for row, mask in zip(logits, bitmask, strict=True):
            row[~allowed_tokens(mask)[: self._vocab_size]] = -np.inf
        drawn: list[int] = logits.argmax(axis=1).tolist()
        return drawn


class Engine:
    """Stands for the scheduler."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._model = Model(vocabulary)

    def run(self, requests: list[Request]) -> None:
        for request in requests:
            self._jump_forward(request)
        running = [request for request in requests if not request.matcher.is_terminated()]
        while running:
            logits = self._model.forward(len(running))
            bitmask = allocate_bitmask(len(running), self._vocabulary)
            fill_batch([request.matcher for request in running], bitmask)
            for request, token_id in zip(running, self._model.sample(logits, bitmask), strict=True):
                request.steps += 1
                self._take(request, token_id)
                self._jump_forward(request)
            running = [request for request in running if not request.matcher.is_terminated()]

    def _take(self, request: Request, token_id: int) -> None:
        assert request.matcher.accept_token(token_id), "the mask allowed it"
        request.output += self._vocabulary.token_bytes[token_id] or b""

    def _jump_forward(self, request: Request) -> None:
        """Append what must come next; a real engine would encode it with its tokenizer."""
        for byte in request.matcher.forced():
            self._take(request, self._vocabulary.token_bytes.index(bytes((byte,))))


def main() -> None:
    tokenizer = open_checkpoint(None).tokenizer()
    vocabulary = Vocabulary.from_token_bytes(tokenizer.token_bytes, tokenizer.eos_token_ids)
    grammars = [compile_regex(PATTERN, vocabulary), compile_json_schema(SCHEMA, vocabulary)]
    requests = [Request(grammar.matcher()) for grammar in grammars for _ in range(3)]
    Engine(vocabulary).run(requests)
    for request in requests:
        text = request.output.decode()
        print(f"{text}  ({request.steps} steps for {len(text)} characters)")
    assert all(re.fullmatch(PATTERN, request.output.decode()) for request in requests[:3])


if __name__ == "__main__":
    main()
