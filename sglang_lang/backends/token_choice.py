"""``select`` token by token, on APIs that score nothing but let tokens be favoured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from ..errors import BackendError

BIAS = 100.0  # the most that the APIs take: practically only these tokens
MAX_BIASED = 300  # tokens of one request


class Encoding(Protocol):
    """The model's tokenizer, such as one of tiktoken."""

    @property
    def eot_token(self) -> int: ...

    def encode(self, text: str, /) -> list[int]: ...

    def decode(self, tokens: Sequence[int], /) -> str: ...


# The next token's text after so much of the choice, if only the tokens of the mapping may come.
Ask = Callable[[str, Mapping[int, float]], Awaitable[str]]


async def choose(encoding: Encoding, choices: Sequence[str], ask: Ask) -> str:
    """The choice that the model takes; asks only where two choices part.

    Raises:
        BackendError: the choices cannot be told apart by the API, or it wrote something else.
    """
    alive = [(choice, encoding.encode(choice)) for choice in dict.fromkeys(choices)]
    depth = 0
    while len(alive) > 1:
        following = {tokens[depth] for _, tokens in alive if len(tokens) > depth}
        ended = next((choice for choice, tokens in alive if len(tokens) == depth), None)
        if len(following) > 1 or ended is not None:
            written = encoding.decode(alive[0][1][:depth])
            token = await _next(encoding, following, ended is not None, written, ask)
            if token is None:
                assert ended is not None
                return ended
            alive = [(c, tokens) for c, tokens in alive if tokens[depth : depth + 1] == [token]]
        depth += 1
    return alive[0][0]


async def _next(
    encoding: Encoding, following: set[int], may_end: bool, written: str, ask: Ask
) -> int | None:
    """The token that the model takes of those that may follow; None ends the choice."""
    texts = {encoding.decode([token]): token for token in following}
    allowed = {*following, encoding.eot_token} if may_end else following
    if len(texts) < len(following) or len(allowed) > MAX_BIASED:
        raise BackendError("these choices cannot be told apart token by token")
    text = await ask(written, dict.fromkeys(allowed, BIAS))
    if not text and may_end:
        return None
    if text not in texts:
        raise BackendError(f"the API was held to {sorted(texts)}, but wrote {text!r}")
    return texts[text]
