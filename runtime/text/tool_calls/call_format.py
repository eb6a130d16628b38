"""How models write tool calls: the frames they were trained on, and what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallFrame:
    """Calls as literal text around JSON objects; see ``constrained/tool_calls.py``."""

    opening: str = ""
    begin: str = ""
    end: str = ""
    separator: str = ""
    closing: str = ""
    arguments_key: str = "arguments"


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One way of writing calls.

    Attributes:
        name: as ``--tool-call-parser`` takes it.
        frame: how calls are written when they must be; models that write more than JSON objects
            in literal text are held to a JSON list then.
        markers: texts that begin calls within an answer.
        leave: text after which the answer goes on, None if nothing follows calls.
        bare: whether an answer may begin with a call without a marker.
        fence: what may stand before a call that an answer begins with.
        noise: further literal text between calls.
        header_name: the function's name from what stands before an object, which then holds the
            arguments alone; "" if the object holds the name too.
        id_length: length of a call's id where the template insists on one.
    """

    name: str
    frame: CallFrame
    markers: tuple[str, ...] = ()
    leave: str | None = None
    bare: bool = False
    fence: str | None = None
    noise: tuple[str, ...] = ()
    header_name: Callable[[str], str] = lambda header: ""
    id_length: int | None = None


def _mistral_name(header: str) -> str:
    """``name[ARGS]``, ``name[CALL_ID]id[ARGS]`` or ``name``; older models write a list instead."""
    return re.split(r"\[(?:ARGS|CALL_ID)\]", header)[0].strip("[], \n")


def _deepseek_name(header: str) -> str:
    """``function<sep>name`` with a fence around the arguments (V3, R1), or ``name<sep>`` (V3.1)."""
    before, _, after = header.partition("<｜tool▁sep｜>")
    return (after.strip() or before.strip()).partition("\n")[0].strip()


JSON_LIST = CallFrame(opening="[", separator=", ", closing="]")

FORMATS = {
    "hermes": CallFormat(
        "hermes",
        CallFrame(begin="<tool_call>\n", end="\n</tool_call>", separator="\n"),
        markers=("<tool_call>",),
        leave="</tool_call>",
    ),
    "llama3": CallFormat(
        "llama3",
        CallFrame(separator="; ", arguments_key="parameters"),
        markers=("<|python_tag|>",),
        bare=True,
    ),
    "mistral": CallFormat(
        "mistral",
        CallFrame(opening="[TOOL_CALLS][", separator=", ", closing="]"),
        markers=("[TOOL_CALLS]",),
        header_name=_mistral_name,
        id_length=9,
    ),
    "deepseek": CallFormat(
        "deepseek",
        JSON_LIST,
        markers=("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
        leave="<｜tool▁calls▁end｜>",
        noise=("<｜tool▁call▁end｜>",),
        header_name=_deepseek_name,
    ),
    "pythonic": CallFormat(
        "pythonic",
        JSON_LIST,
        markers=("<|tool_call_start|>", "<|python_start|>"),
        leave="<|tool_call_end|>",
        bare=True,
    ),
    "json": CallFormat("json", JSON_LIST, bare=True, fence="```json"),
}

# What a chat template says when its model writes calls in a format; the first that is found wins.
_TELLS = (
    ("deepseek", "<｜tool▁calls▁begin｜>"),
    ("mistral", "[TOOL_CALLS]"),
    ("hermes", "<tool_call>"),
    ("pythonic", "<|tool_call_start|>"),
    ("pythonic", "<|python_start|>"),
    ("llama3", "<|python_tag|>"),
    ("llama3", '"parameters":'),
    ("pythonic", "func_name1(params_name1"),
)


def guess_format(chat_template: str | None) -> CallFormat:
    """The format that a model's template shows.

    A template that knows no tools gets them in a system text of ours, which asks for hermes.
    """
    for name, tell in _TELLS:
        if tell in (chat_template or ""):
            return FORMATS[name]
    knows_tools = re.search(r"\btools\b", chat_template or "")
    return FORMATS["json" if knows_tools else "hermes"]
