"""Tells a reasoning model's thoughts from its answer."""

from __future__ import annotations

# (where thoughts begin, where they end, whether a text begins inside of them)
_MARKS = {
    "deepseek-r1": ("<think>", "</think>", True),
    "qwen3": ("<think>", "</think>", False),
    "qwen3-thinking": ("<think>", "</think>", True),
    "kimi": ("◁think▷", "◁/think▷", False),
}


def split_reasoning(text: str, model_type: str | None) -> tuple[str, str]:
    """(thoughts, answer) of a generated text.

    Args:
        text: what the model wrote.
        model_type: names the model's marks; None means think tags.

    Raises:
        ValueError: an unknown model type.
    """
    kind = (model_type or "qwen3").lower()
    if kind not in _MARKS:
        raise ValueError(f"model_type must be one of {', '.join(_MARKS)}, got {model_type!r}")
    begin, end, starts_inside = _MARKS[kind]
    if begin in text:
        before, _, rest = text.partition(begin)
    elif starts_inside or end in text:
        before, rest = "", text
    else:
        return "", text
    thoughts, _, answer = rest.partition(end)
    return thoughts.strip(), (before + answer).lstrip()
