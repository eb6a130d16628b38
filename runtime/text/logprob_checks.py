"""Which logprobs a request may ask for: what is out of range would fail in the model's process."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import RequestError

MAX_TOP = 1000
MAX_TOKEN_IDS = 4096


def check_logprobs(
    start: int | None, top: int, token_ids: Sequence[int], prompt_len: int, vocab_size: int
) -> None:
    """Raise RequestError, naming the field, for a value out of its range.

    Args:
        start: first prompt position whose logprob is wanted; None for none.
        top: how many of the likeliest tokens.
        token_ids: tokens whose logprobs are wanted at every position.
        prompt_len: tokens of the prompt.
        vocab_size: of the model.
    """
    if start is not None and not 0 <= start <= prompt_len:
        raise RequestError(
            f"logprob_start_len must be in [0, {prompt_len}], got {start}",
            param="logprob_start_len",
        )
    most = min(MAX_TOP, vocab_size)
    if not 0 <= top <= most:
        raise RequestError(
            f"top_logprobs_num must be in [0, {most}], got {top}", param="top_logprobs_num"
        )
    if len(token_ids) > MAX_TOKEN_IDS:
        raise RequestError(
            f"at most {MAX_TOKEN_IDS} token ids, got {len(token_ids)}", param="token_ids_logprob"
        )
    for token_id in token_ids:
        if type(token_id) is not int or not 0 <= token_id < vocab_size:
            raise RequestError(
                f"token_ids_logprob must be integers in [0, {vocab_size}), got {token_id!r}",
                param="token_ids_logprob",
            )
