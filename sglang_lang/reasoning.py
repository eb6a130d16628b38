"""Tells a reasoning model's thoughts from its answer, also while they are written."""

from __future__ import annotations

from typing import NamedTuple

THINK = ("<think>", "</think>")
KIMI = ("◁think▷", "◁/think▷")


class Marks(NamedTuple):
    """Where thoughts begin and end.

    ``is_open`` tells whether a text without the first mark begins inside of thoughts; None where
    only the last mark can tell.
    """

    begin: str
    end: str
    is_open: bool | None

    def behind(self, prompt: str) -> Marks:
        """For a text behind this prompt, in which the template may have begun the thoughts."""
        return self._replace(is_open=True) if prompt.rstrip().endswith(self.begin) else self


_MARKS = {
    **dict.fromkeys(("deepseek-r1", "qwen3-thinking", "step3", "nano_v3"), Marks(*THINK, True)),
    **dict.fromkeys(
        ("qwen3", "deepseek-v3", "glm45", "kimi_k2", "minimax", "interns1"), Marks(*THINK, False)
    ),
    "kimi": Marks(*KIMI, False),
}
_ANY_MODEL = Marks(*THINK, None)


class Parted(NamedTuple):
    """Thoughts, and the answer behind them."""

    thoughts: str
    answer: str


def marks_of(model_type: str | None) -> Marks:
    """ValueError names the model types there are; None means think tags."""
    if model_type is None:
        return _ANY_MODEL
    if model_type.lower() not in _MARKS:
        raise ValueError(f"model_type must be one of {', '.join(_MARKS)}, got {model_type!r}")
    return _MARKS[model_type.lower()]


def thoughts_of(name: str) -> str:
    """The variable with the thoughts ahead of the value of ``name``."""
    return f"{name}_reasoning_content"


def split_reasoning(text: str, marks: Marks | None, is_whole: bool = True) -> Parted:
    """The thoughts that a generated text begins with, and the rest.

    Args:
        text: what the model wrote.
        marks: of the model; None if it is not asked for thoughts.
        is_whole: False while more is to come: then only what can no longer change is told.
    """
    if marks is None:
        return Parted("", text)
    begin, end, is_open = marks
    known = text if is_whole else _settled(text, (begin, end))
    stripped = known.lstrip()
    if stripped.startswith(begin):
        rest = stripped[len(begin) :]
    elif is_open or (is_open is None and end in known):
        rest = stripped
    elif not is_whole and (is_open is None or not stripped):
        return Parted("", "")
    else:
        return Parted("", known)
    thoughts, found, answer = rest.partition(end)
    if not is_whole and not found:
        return Parted(thoughts.strip(), "")
    return Parted(thoughts.strip(), answer.lstrip())


def _settled(text: str, marks: tuple[str, ...]) -> str:
    """Without an end that may be the beginning of a mark."""
    longest = max(
        (
            length
            for mark in marks
            for length in range(1, len(mark))
            if text.endswith(mark[:length])
        ),
        default=0,
    )
    return text[: len(text) - longest]
