"""OpenAI's prompt field, in each of its four shapes."""

from __future__ import annotations

from typing import Any

from ...errors import RequestError


def prompt_list(prompt: Any, param: str) -> list[str | list[int]]:
    """Texts or lists of token ids, from one of either or a list of them.

    Raises:
        RequestError: it is empty, or mixes token ids with other items.
    """
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise RequestError(f"{param} is empty", param=param)
    if all(isinstance(item, int) for item in prompt):
        return [prompt]
    if not any(isinstance(item, int) for item in prompt):
        return list(prompt)
    raise RequestError(f"{param} mixes token ids with other items", param=param)
