"""Answers of the model taken apart, streamed or whole; every chat protocol is written on top."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

from ..text.answer import Answer
from ..text.dialect import Turn
from ..text.generation import Generation
from ..text.pieces import Piece
from ..text.tokenizer_manager import GenerateInput, TokenizerManager
from .context import ServerContext
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
    return 0 if end is None else _tokens_until(manager, end, has_reasoned, generation)


def plain_reasoning_tokens(
    context: ServerContext, request: GenerateInput, generation: Generation
) -> int:
    """``reasoning_tokens`` of a request that was no chat, by the way the served model reasons."""
    reasoning, manager = context.dialect.reasoning, context.manager
    if reasoning is None:
        return 0
    prompt = request.text
    if prompt is None:
        prompt = manager.tokenizer.decode(list(request.input_ids or ()), False)
    text = b"".join(map(manager.token_text_bytes, generation.output_ids)).decode(errors="replace")
    if not reasoning.begins(prompt, text):
        return 0
    return _tokens_until(manager, reasoning.end, True, generation)


def _tokens_until(
    manager: TokenizerManager, end: str, is_all_else: bool, generation: Generation
) -> int:
    """Output tokens up to the end of the text ``end``; without it all of them, or none."""
    written, mark = bytearray(), end.encode()
    for count, token_id in enumerate(generation.output_ids, 1):
        written += manager.token_text_bytes(token_id)
        if mark in written[-2 * len(mark) - 64 :]:
            return count
    return len(generation.output_ids) if is_all_else else 0


def server_meta_info(context: ServerContext, reasoned: int) -> dict[str, Any]:
    """What the server adds to a generation's ``meta_info``.

    Args:
        context: the server's.
        reasoned: how many of the output tokens are reasoning.
    """
    return {
        "weight_version": context.weight_version,
        "reasoning_tokens": reasoned,
        "dp_rank": 0,  # there is one replica
    }
