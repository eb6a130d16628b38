"""Chat templates: transformers' conventions, the sandbox, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from sglang_lang.runtime.errors import ModelLoadError, RequestError
from sglang_lang.runtime.text import chat_template
from sglang_lang.runtime.text.chat_template import ChatTemplate

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Wie heißt <du> & 'ich'?"},
    {"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
]
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]

CHATML = """{%- if tools %}
    {{- 'Tools:' }}
    {%- for tool in tools %}
        {{- "\\n" }}{{- tool | tojson }}
    {%- endfor %}
{%- endif %}
{% for message in messages %}
    {% if loop.first and message.role != 'system' %}
<|im_start|>system
You help.<|im_end|>
    {% endif %}
<|im_start|>{{ message['role'] }}
{% generation %}{{ message.content | trim }}{% endgeneration %}<|im_end|>
    {% if message.tool_calls is defined %}{{ message.tool_calls | tojson(indent=2) }}{% endif %}
    {% if loop.index == 3 %}{% break %}{% endif %}
{% endfor %}
{% set ns = namespace(found=false) %}
{% for message in messages %}{% if message.role == 'user' %}{% set ns.found = true %}{% endif %}
{% endfor %}
{{ ns.found }} {{ dict(a=1) | items | list }} {{ bos_token }}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_renders_what_transformers_renders(
    tools: list[dict[str, Any]] | None, add_generation_prompt: bool
) -> None:
    render: Any = render_jinja_template
    expected, _ = render(
        conversations=[MESSAGES],
        chat_template=CHATML,
        tools=tools,
        add_generation_prompt=add_generation_prompt,
        bos_token="<s>",
    )
    template = ChatTemplate(CHATML, {"bos_token": "<s>"})
    assert template.render(MESSAGES, tools, add_generation_prompt) == expected[0]


def test_further_variables_reach_the_template() -> None:
    template = ChatTemplate("{{ 'thinking' if enable_thinking else 'not' }}")
    assert template.render([], enable_thinking=True) == "thinking"
    assert template.render([]) == "not"


def test_now_is_formatted() -> None:
    year = ChatTemplate("{{ strftime_now('%Y') }}").render([])
    assert year.isdigit() and len(year) == 4


def test_raise_exception_reaches_the_client_with_its_text() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(RequestError, match="roles must alternate") as error:
        template.render(MESSAGES)
    assert error.value.param == "messages" and error.value.status == 400


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ self._TemplateReference__context.environment }}",
        "{{ 'x' * 10**12 }}",
        "{{ 'x' * 1000000000000 }}",
        "{{ [0] * 1000000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ messages[99].content.x }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_hostile_or_broken_templates_are_refused(source: str) -> None:
    with pytest.raises(RequestError) as error:
        ChatTemplate(source).render(MESSAGES)
    assert error.value.param == "messages"


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "MAX_OUTPUT_CHARS", 1000)
    template = ChatTemplate("{% for i in range(n) %}0123456789{% endfor %}")
    assert len(template.render([], n=100)) == 1000
    with pytest.raises(RequestError, match="more than 1000 characters"):
        template.render([], n=101)


@pytest.mark.parametrize("source", ["{% if %}", "{{ x", "{% unknown %}", "x" * (1 << 21)])
def test_invalid_source_is_a_load_error(source: str) -> None:
    with pytest.raises(ModelLoadError, match="chat template"):
        ChatTemplate(source)
