"""Renders a model's own chat template: Jinja, sandboxed, with bounded output.

Templates come with a model, so they are untrusted code. They see plain data and the few functions
that Hugging Face templates expect (https://huggingface.co/docs/transformers/chat_templating).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import ModelLoadError, RequestError

MAX_TEMPLATE_CHARS = 1 << 20
MAX_OUTPUT_CHARS = 16 << 20


class ChatTemplate:
    """A compiled template.

    Args:
        source: the Jinja text.
        special_tokens: names such as ``bos_token`` the template may use, with their text.

    Raises:
        ModelLoadError: the template is too long or not valid Jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise ModelLoadError(f"the chat template is over {MAX_TEMPLATE_CHARS} characters")
        self.source = source
        self._special_tokens = dict(special_tokens or {})
        try:
            self._template = _environment().from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise ModelLoadError(f"the chat template is not valid Jinja: {error}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **template_kwargs: Any,
    ) -> str:
        """Render a conversation to the prompt's text.

        Args:
            messages: {"role": ..., "content": ...} each, JSON values only.
            tools: OpenAI tool definitions, None when there are none.
            add_generation_prompt: end with the opening of the assistant's turn.
            template_kwargs: further variables of the template, such as ``enable_thinking``.

        Raises:
            RequestError: the template refuses the messages, fails, or writes too much.
        """
        variables = self._special_tokens | {
            "messages": list(messages),
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(variables | template_kwargs):
                length += len(piece)
                if length > MAX_OUTPUT_CHARS:
                    raise RequestError(
                        f"the chat template wrote more than {MAX_OUTPUT_CHARS} characters",
                        param="messages",
                    )
                pieces.append(piece)
        except _TEMPLATE_FAILURES as error:
            raise RequestError(
                f"the model's chat template cannot render these messages: {error}", param="messages"
            ) from error
        return "".join(pieces)


# What a template can do wrong with the messages it is given: its own raise_exception, an undefined
# name, a type it does not expect, forbidden attributes, endless recursion.
_TEMPLATE_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, and no operator that makes much from little (``"x" * 10**10``, ``9**9**9``)."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("chat templates may not use the ** operator")
        if operator == "%" and isinstance(left, str):
            raise SecurityError("chat templates may not format strings with %")
        if operator == "*":
            for items, count in ((left, right), (right, left)):
                if isinstance(items, str | list | tuple) and isinstance(count, int):
                    if len(items) * count > MAX_OUTPUT_CHARS:
                        raise SecurityError(f"a repetition is over {MAX_OUTPUT_CHARS} items")
        return super().call_binop(context, operator, left, right)


class _GenerationBlock(Extension):
    """``{% generation %}...{% endgeneration %}`` marks the assistant's text for training.

    Here it only renders its body.
    """

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationBlock, loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    del environment.globals["lipsum"]
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML, which is no business of a prompt."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)
