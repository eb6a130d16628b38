"""Answers of the model taken apart, streamed or whole; every chat protocol is written on top."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from ..text.answer import Answer
from ..text.dialect import Turn
from ..text.generation import Generation
from ..text.pieces import Piece
from ..text.tokenizer_manager import GenerateInput, TokenizerManager
from .streaming import merge


class Progress(NamedTuple):
    """What the ``sample``-th answer has gained; ``generation.finish`` is set with the last."""

    sample: int
    pieces: list[Piece]
    generation: Generation


async def stream_answers(
    manager: TokenizerManager, turn: Turn, parts: Sequence[GenerateInput]
) -> AsyncGenerator[Progress, None]:
    """The answers as they grow; leaving the iteration aborts them."""
    parsers = [turn.parser() for _ in parts]
    stream = merge(manager, parts)
    try:
        async for index, generation in stream:
            pieces = parsers[index].feed(generation.delta)
            if generation.finish is not None:
                pieces += parsers[index].finish()
            yield Progress(index, pieces, generation)
    finally:
        await stream.aclose()


async def whole_answers(
    manager: TokenizerManager, turn: Turn, parts: Sequence[GenerateInput]
) -> list[tuple[Answer, Generation]]:
    """The finished answers, in order."""
    answers: list[tuple[Answer, Generation]] = []
    for generation in await manager.generate_all(parts):
        parser, answer = turn.parser(), Answer()
        answer.add(parser.feed(generation.text))
        answer.add(parser.finish())
        answers.append((answer, generation))
    return answers


def reasoning_tokens(
    manager: TokenizerManager, turn: Turn, has_reasoned: bool, generation: Generation
) -> int:
    """How many of the output tokens are reasoning, its end included."""
    end = turn.reasoning_end
    if end is None:
        return 0
    written, mark = bytearray(), end.encode()
    for count, token_id in enumerate(generation.output_ids, 1):
        written += manager.token_text_bytes(token_id)
        if mark in written[-2 * len(mark) - 64 :]:
            return count
    return len(generation.output_ids) if has_reasoned else 0
