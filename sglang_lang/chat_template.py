"""Chat templates for models whose own is not known: what stands before and after each turn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Prefix and suffix of each role's turn, and strings that end the assistant's.

    ``after_system`` is the user's prefix right behind the system's turn, where it is another one.
    """

    name: str
    turns: Mapping[str, tuple[str, str]]
    stops: tuple[str, ...] = ()
    begin: str = ""
    after_system: str | None = None

    def render(self, messages: Sequence[Mapping[str, Any]], open_role: str | None = None) -> str:
        """The conversation's text, ending inside a new turn of ``open_role`` if that is given."""
        text, before = self.begin, ""
        for message in messages:
            prefix, suffix = self._turn(message["role"], before)
            text += f"{prefix}{message['content']}{suffix}"
            before = message["role"]
        if open_role is not None:
            text += self._turn(open_role, before)[0]
        return text

    def _turn(self, role: str, before: str) -> tuple[str, str]:
        if role not in self.turns:
            raise ValueError(f"the chat template {self.name!r} has no role {role!r}")
        prefix, suffix = self.turns[role]
        if self.after_system is not None and (before, role) == ("system", "user"):
            prefix = self.after_system
        return prefix, suffix


def _chatml(name: str) -> ChatTemplate:
    turns = {
        role: (f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ("system", "user", "assistant")
    }
    return ChatTemplate(name, turns, ("<|im_end|>",))


_CHATML_NAMES = (
    *("chatml", "chatml-llava", "qwen", "qwen2-vl", "yi-1.5", "dbrx-instruct", "minicpmv"),
    *("minicpmo", "internvl-2-5", "interns1"),
)

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
        *map(_chatml, _CHATML_NAMES),
        *(
            ChatTemplate(name, _LLAMA3_TURNS, ("<|eot_id|>",), "<|begin_of_text|>")
            for name in ("llama-3-instruct", "llama-3-instruct-llava")
        ),
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
            "llama-2-chat",
            {
                "system": ("[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
                "user": ("[INST] ", " [/INST]"),
                "assistant": ("", " </s><s>"),
            },
            ("</s>",),
            after_system="",
        ),
        ChatTemplate(
            "c4ai-command-r",
            {
                role: (
                    f"<|START_OF_TURN_TOKEN|><|{token}_TOKEN|>",
                    "<|END_OF_TURN_TOKEN|>",
                )
                for role, token in (
                    ("system", "SYSTEM"),
                    ("user", "USER"),
                    ("assistant", "CHATBOT"),
                )
            },
            ("<|END_OF_TURN_TOKEN|>",),
        ),
        ChatTemplate(
            "granite-3-instruct",
            {
                role: (f"<|start_of_role|>{role}<|end_of_role|>", "<|end_of_text|>\n")
                for role in ("system", "user", "assistant")
            },
            ("<|end_of_text|>",),
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
    (r"llama-?2.*chat", "llama-2-chat"),
    (r"command-r", "c4ai-command-r"),
    (r"granite-?3.*instruct", "granite-3-instruct"),
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
