"""What an answer says about its tokens and its end, as OpenAI counts and names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...text.generation import Generation


def usage(
    generations: Iterable[Generation], prompts: int = 1, reasoning_tokens: int = 0
) -> dict[str, Any]:
    """OpenAI's usage; a prompt sampled n times is counted once.

    Args:
        generations: n of each prompt, in order.
        prompts: how many different prompts there were.
        reasoning_tokens: how many of the output tokens were reasoning.
    """
    done = list(generations)
    each = max(len(done) // max(prompts, 1), 1)
    firsts = done[::each]
    prompt_tokens = sum(generation.prompt_tokens for generation in firsts)
    completion_tokens = sum(generation.completion_tokens for generation in done)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": sum(generation.cached_tokens for generation in firsts)
        },
        "completion_tokens_details": {
            "forced_tokens": sum(generation.forced_tokens for generation in done),
            "reasoning_tokens": reasoning_tokens,
        },
    }


def sglext(is_asked: bool | None, first: Generation) -> dict[str, Any]:
    """SGLang's extension of a response: where the first prompt's cached tokens lay."""
    if not is_asked:
        return {}
    return {"sglext": {"cached_tokens_details": first.cached_tokens_details}}


def finish_reason(generation: Generation, has_calls: bool = False) -> str | None:
    """``tool_calls`` for an answer that ends with them by itself."""
    if generation.finish is None:
        return None
    return (
        "tool_calls" if has_calls and generation.finish.type == "stop" else generation.finish.type
    )


def matched_stop(generation: Generation) -> int | str | None:
    return generation.finish.matched if generation.finish is not None else None
