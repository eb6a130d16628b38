"""How likely given texts continue a prompt: their token logprobs over one shared prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import RequestError
from ..sampling_params import SamplingParams
from .generation import Generation
from .tokenizer_manager import GenerateInput, TokenizerManager

MAX_CHOICES = 4096


@dataclass(frozen=True, slots=True)
class ChoiceLogprobs:
    """How likely one choice continues a prompt, token by token; the lists are parallel."""

    token_ids: list[int]
    logprobs: list[float]
    unconditional_logprobs: list[float | None] | None


async def score_choices(
    manager: TokenizerManager,
    text: str,
    choices: Sequence[str],
    unconditional: bool = False,
    add_special_tokens: bool = True,
) -> tuple[list[ChoiceLogprobs], Generation]:
    """Logprobs of each choice as a continuation of ``text``, over one shared prefix.

    A choice's tokens are those of ``text + choice`` after the longest prefix that they share
    with the prompt's own tokens: where a choice joins with the prompt's last token, that
    token is part of what is scored. Where that leaves nothing in front, the text is scored as the
    beginning of a document.

    Returns:
        one entry per choice, and the prompt's own (prefill only) generation.
    """
    if not choices or not all(choices):
        raise RequestError("choices must be non-empty strings", param="choices")
    if len(choices) > MAX_CHOICES:
        raise RequestError(f"at most {MAX_CHOICES} choices, got {len(choices)}", param="choices")
    prompt = await manager.encode(text, add_special_tokens)
    full = [await manager.encode(text + choice, add_special_tokens) for choice in choices]
    if not all(_common_prefix(prompt, ids) for ids in full):
        # The very first token has a logprob only behind another one.
        opening = _opening(manager)
        prompt, full = [opening, *prompt], [[opening, *ids] for ids in full]
    starts = [_common_prefix(prompt, ids) for ids in full]
    for choice, ids, start in zip(choices, full, starts, strict=True):
        if start == len(ids):
            raise RequestError(f"the choice {choice!r} adds no token", param="choices")
    warm = await manager.generate(_prefill(prompt[: min(starts)], None))
    requests = [_prefill(ids, start) for ids, start in zip(full, starts, strict=True)]
    if unconditional:
        requests += [_prefill(ids[start:], 0) for ids, start in zip(full, starts, strict=True)]
    done = await manager.generate_all(requests)
    scored: list[ChoiceLogprobs] = []
    for i, (ids, start) in enumerate(zip(full, starts, strict=True)):
        logprobs = done[i].input_logprobs
        assert logprobs is not None
        values = [value for value in logprobs.values if value is not None]
        alone = done[len(full) + i].input_logprobs if unconditional else None
        scored.append(ChoiceLogprobs(ids[start:], values, alone.values if alone else None))
    warm.prompt_tokens = len(prompt)
    return scored, warm


async def score_labels(
    manager: TokenizerManager, prompts: Sequence[GenerateInput], label_ids: Sequence[int]
) -> list[Generation]:
    """How likely each label is the next token, for each prompt.

    Returns:
        a generation for each prompt; ``label_logprobs`` reads it.

    Raises:
        RequestError: a prompt or a label is wrong.
    """
    params = SamplingParams(max_new_tokens=1, temperature=0.0, ignore_eos=True)
    parts = [
        replace(
            prompt, sampling_params=params, return_logprob=True, token_ids_logprob=list(label_ids)
        )
        for prompt in prompts
    ]
    return await manager.generate_all(parts)


def label_logprobs(generation: Generation, label_ids: Sequence[int]) -> list[float]:
    """Logprobs of the labels in a generation of ``score_labels``."""
    logprobs = generation.output_logprobs
    assert logprobs is not None
    found = {token_id: value for value, token_id in logprobs.chosen[0]}
    return [found[token_id] for token_id in label_ids]


def _opening(manager: TokenizerManager) -> int:
    """The token that stands in front of a document: BOS, or what ended the one before."""
    tokenizer = manager.tokenizer
    if tokenizer.bos_token_id is not None:
        return tokenizer.bos_token_id
    if not tokenizer.eos_token_ids:
        raise RequestError("this model cannot score choices after an empty prompt", param="text")
    return tokenizer.eos_token_ids[0]


def _prefill(input_ids: list[int], logprob_start_len: int | None) -> GenerateInput:
    """Compute a prompt's KV, and its logprobs from a position on."""
    return GenerateInput(
        input_ids=input_ids,
        sampling_params=SamplingParams(max_new_tokens=0, temperature=0.0),
        return_logprob=logprob_start_len is not None,
        logprob_start_len=logprob_start_len,
    )


def _common_prefix(a: Sequence[Any], b: Sequence[Any]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length
