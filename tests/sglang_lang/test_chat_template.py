"""Templates of the registry: only where the model's own is not known, and with a warning."""

from __future__ import annotations

import warnings

import pytest

import sglang_lang as sgl
from sglang_lang.chat_template import (
    TEMPLATES,
    ChatTemplate,
    assumed_template,
    fallback_template,
    get_chat_template,
    guess_chat_template,
)

from .openai_server import openai_server

TURNS = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: template.name)
def test_turns_stand_in_order_and_may_stay_open(template: ChatTemplate) -> None:
    whole = template.render(TURNS)
    opened = template.render(TURNS[:2], "assistant")
    assert whole.startswith(template.begin)
    assert whole.startswith(opened + "A")
    assert whole.index("S") < whole.rindex("U")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3-instruct"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4"),
        ("Qwen/Qwen3-8B", "chatml"),
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3"),
        ("google/gemma-3-270m-it", "gemma-it"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-chat"),
        ("CohereForAI/c4ai-command-r-v01", "c4ai-command-r"),
        ("ibm-granite/granite-3.1-8b-instruct", "granite-3-instruct"),
        ("unheard-of", "default"),
    ],
)
def test_names_of_models_tell_their_template(model: str, name: str) -> None:
    assert guess_chat_template(model).name == name


def test_a_system_turn_may_lie_inside_of_the_users() -> None:
    template = get_chat_template("llama-2-chat")
    opened = template.render(TURNS[:2], "assistant")
    assert opened == "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]"
    assert template.render(TURNS[1:], "user") == "[INST] U [/INST]A </s><s>[INST] "


def test_a_models_own_template_comes_first_and_the_users_before_it() -> None:
    info = {"has_chat_template": True, "model_path": "Qwen/Qwen3-8B"}
    assert fallback_template(info, "here", None) is None
    chosen = fallback_template(info, "here", "vicuna_v1.1")
    assert chosen is not None and chosen.name == "vicuna_v1.1"
    with pytest.warns(UserWarning, match="here does not tell its chat template; using 'chatml'"):
        assumed = fallback_template({**info, "has_chat_template": False}, "here", None)
    assert assumed is not None and assumed.name == "chatml"


def test_an_unknown_template_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no chat template 'x'; there are default, chatml"):
        get_chat_template("x")


def test_a_role_that_a_template_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="'default' has no role 'tool'"):
        TEMPLATES["default"].render([{"role": "tool", "content": ""}])


@sgl.function
def chat(s: sgl.ProgramState) -> None:
    s += sgl.user("Hi") + sgl.assistant(sgl.gen("x"))


@sgl.function
def plain(s: sgl.ProgramState) -> None:
    s += "Hi" + sgl.gen("x")


def test_turns_for_a_completion_model_use_the_registry_and_warn_once() -> None:
    with openai_server(lambda body: "yes") as server:
        backend = sgl.OpenAI("vicuna-7b", False, base_url=server.url, api_key="key")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain.run(backend=backend)  # has no turns
        with pytest.warns(UserWarning, match="vicuna-7b does not tell its chat template"):
            chat.run(backend=backend)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chat.run(backend=backend)
        backend.shutdown()
    assert server.requests[-1]["prompt"] == "USER: Hi ASSISTANT: "


def test_a_template_that_is_named_is_used_without_a_warning() -> None:
    with openai_server(lambda body: "yes") as server:
        backend = sgl.OpenAI("m", False, "chatml", base_url=server.url, api_key="key")
        chat.run(backend=backend)
        backend.shutdown()
    assert server.requests[0]["prompt"] == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert server.requests[0]["stop"] == ["<|im_end|>"]


def test_assuming_names_the_place() -> None:
    with pytest.warns(UserWarning, match="^somewhere does not tell"):
        assert assumed_template("", "somewhere").name == "default"
