"""Chat templates for models whose own is not known: what stands before and after each turn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Prefix and suffix of each role's turn, and strings that end the assistant's."""

    name: str
    turns: Mapping[str, tuple[str, str]]
    stops: tuple[str, ...] = ()
    begin: str = ""

    def render(self, messages: Sequence[Mapping[str, Any]], open_role: str | None = None) -> str:
        """The conversation's text, ending inside a new turn of ``open_role`` if that is given."""
        text = self.begin
        for message in messages:
            prefix, suffix = self._turn(message["role"])
            text += f"{prefix}{message['content']}{suffix}"
        if open_role is not None:
            text += self._turn(open_role)[0]
        return text

    def _turn(self, role: str) -> tuple[str, str]:
        if role not in self.turns:
            raise ValueError(f"the chat template {self.name!r} has no role {role!r}")
        return self.turns[role]


def _chatml(name: str) -> ChatTemplate:
    turns = {
        role: (f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ("system", "user", "assistant")
    }
    return ChatTemplate(name, turns, ("<|im_end|>",))


_LLAMA3_TURNS = {
    role: (f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")
    for role in ("system", "user", "assistant")
}

_LLAMA4_TURNS = {
    role: (f"<|header_start|>{role}<|header_end|>\n\n", "<|eot|>")
    for role in ("system", "user", "assistant")
}

TEMPLATES = {
    template.name: template
    for template in (
        ChatTemplate(
            "default",
            {
                "system": ("SYSTEM:", "\n"),
                "user": ("USER:", "\n"),
                "assistant": ("ASSISTANT:", "\n"),
            },
        ),
        _chatml("chatml"),
        _chatml("qwen"),
        _chatml("qwen2-vl"),
        ChatTemplate("llama-3-instruct", _LLAMA3_TURNS, ("<|eot_id|>",), "<|begin_of_text|>"),
        ChatTemplate("llama-4", _LLAMA4_TURNS, ("<|eot|>",), "<|begin_of_text|>"),
        ChatTemplate(
            "deepseek-v3",
            {
                "system": ("", ""),
                "user": ("<｜User｜>", ""),
                "assistant": ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
            },
            ("<｜end▁of▁sentence｜>",),
            "<｜begin▁of▁sentence｜>",
        ),
        ChatTemplate(
            "claude",
            {
                "system": ("", ""),
                "user": ("\n\nHuman: ", ""),
                "assistant": ("\n\nAssistant:", ""),
            },
            ("\n\nHuman:",),
        ),
        ChatTemplate(
            "gemma-it",
            {
                "system": ("", ""),
                "user": ("<start_of_turn>user\n", "<end_of_turn>\n"),
                "assistant": ("<start_of_turn>model\n", "<end_of_turn>\n"),
            },
            ("<end_of_turn>",),
        ),
        ChatTemplate(
            "mistral",
            {
                "system": ("[SYSTEM_PROMPT] ", " [/SYSTEM_PROMPT]"),
                "user": ("[INST] ", " [/INST]"),
                "assistant": ("", "</s>"),
            },
            ("</s>",),
        ),
        ChatTemplate(
            "vicuna_v1.1",
            {
                "system": ("", " "),
                "user": ("USER: ", " "),
                "assistant": ("ASSISTANT: ", "</s>"),
            },
        ),
    )
}
_BY_MODEL_NAME = (
    (r"llama-?3.*instruct", "llama-3-instruct"),
    (r"llama-?4.*instruct", "llama-4"),
    (r"deepseek.*(v3|r1)", "deepseek-v3"),
    (r"qwen|smollm|chatml|yi-.*chat", "chatml"),
    (r"gemma.*-it", "gemma-it"),
    (r"mistral|mixtral", "mistral"),
    (r"vicuna", "vicuna_v1.1"),
)


def get_chat_template(name: str) -> ChatTemplate:
    """ValueError names the templates there are."""
    if name not in TEMPLATES:
        raise ValueError(f"no chat template {name!r}; there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def guess_chat_template(model_name: str) -> ChatTemplate:
    """The template that models of such a name use; "default" for an unknown one."""
    for pattern, name in _BY_MODEL_NAME:
        if re.search(pattern, model_name, re.IGNORECASE):
            return TEMPLATES[name]
    return TEMPLATES["default"]


def fallback_template(
    model_info: Mapping[str, Any], place: str, name: str | None
) -> ChatTemplate | None:
    """The template to use instead of the model's own; None where that is known.

    Args:
        model_info: what a runtime tells of its model.
        place: the runtime, for the warning.
        name: of the template that the user wants.
    """
    if name is not None:
        return get_chat_template(name)
    if model_info.get("has_chat_template", False):
        return None
    return assumed_template(str(model_info.get("model_path", "")), place)


def assumed_template(model_name: str, place: str) -> ChatTemplate:
    """The one that models of such a name use, with a warning that nobody has said so."""
    template = guess_chat_template(model_name)
    warnings.warn(
        f"{place} does not tell its chat template; using {template.name!r} of the registry",
        stacklevel=4,
    )
    return template
