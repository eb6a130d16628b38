"""How models write their reasoning, and where a constraint may begin behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..pieces import PieceParser
from .channels import ANALYSIS, FINAL, ChannelParser
from .think_tags import CLOSE, OPEN, ThinkTagParser


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """One way of writing reasoning.

    Attributes:
        name: as ``--reasoning-parser`` takes it.
        kind: tags around it, or a channel of its own.
        always: whether a model reasons although its prompt does not open the tag.
        end: text after which the answer, and its constraint, begins.
    """

    name: str
    kind: Literal["tags", "channels"]
    always: bool
    end: str

    def is_on(self, prompt: str) -> bool:
        """Whether the model reasons before it answers this prompt.

        A template that switches reasoning off closes the tag in the prompt.
        """
        return self.kind == "channels" or not prompt.rstrip().endswith(CLOSE)

    def begins(self, prompt: str, text: str) -> bool:
        """Whether a text that continues a prompt of any kind, no chat's say, begins with it."""
        if self.kind == "channels":
            return text.startswith(ANALYSIS)
        return prompt.rstrip().endswith(OPEN) or text.lstrip().startswith(OPEN)

    def parser(self, prompt: str, calls: bool, certain: bool) -> PieceParser:
        """The parser of an answer to this prompt.

        Args:
            prompt: as rendered.
            calls: whether the answer may have tool calls.
            certain: whether a constraint makes sure that the reasoning ends.
        """
        if self.kind == "channels":
            return ChannelParser(calls)
        opened = prompt.rstrip().endswith(OPEN)
        return ThinkTagParser(inside=certain or opened or (self.always and self.is_on(prompt)))


REASONING_FORMATS = {
    "deepseek-r1": ReasoningFormat("deepseek-r1", "tags", always=True, end=CLOSE),
    "qwen3": ReasoningFormat("qwen3", "tags", always=False, end=CLOSE),
    "gpt-oss": ReasoningFormat("gpt-oss", "channels", always=True, end=FINAL),
}


def guess_reasoning(chat_template: str | None) -> ReasoningFormat | None:
    """The format that a model's template shows, None for a model that does not reason."""
    template = chat_template or ""
    if CLOSE in template:
        return REASONING_FORMATS["qwen3"]
    return REASONING_FORMATS["gpt-oss"] if ANALYSIS in template else None
