"""The public names of SGLang's language, with their parameters in order and their defaults.

What this language adds comes after SGLang's own parameters, so programs written for
``import sglang as sgl`` run unchanged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import sglang_lang as sgl
from sglang_lang.backends.native import NativeBackend
from sglang_lang.executor import StreamExecutor
from sglang_lang.sgl_function import RUN_OPTIONS
from sglang_lang.state_group import ProgramStateGroup

NAMES = """Anthropic Crusoe Engine LiteLLM OpenAI Runtime RuntimeEndpoint ServerArgs VertexAI
__version__ assistant assistant_begin assistant_end flush_cache function gen gen_int gen_string
get_server_info global_config greedy_token_selection image select separate_reasoning
set_default_backend system system_begin system_end token_length_normalized
unconditional_likelihood_normalized user user_begin user_end video""".split()

GEN = """name=None max_tokens=None min_tokens=None n=None stop=None stop_token_ids=None
stop_regex=None temperature=None top_p=None top_k=None min_p=None frequency_penalty=None
presence_penalty=None ignore_eos=None return_logprob=None logprob_start_len=None
top_logprobs_num=None return_text_in_logprobs=None dtype=None choices=None choices_method=None
regex=None json_schema=None"""
GEN_TYPED = """name=None max_tokens=None n=None stop=None stop_token_ids=None stop_regex=None
temperature=None top_p=None top_k=None min_p=None frequency_penalty=None presence_penalty=None
ignore_eos=None return_logprob=None logprob_start_len=None top_logprobs_num=None
return_text_in_logprobs=None"""
SAMPLING = """max_new_tokens=128 n=1 stop=None stop_token_ids=None stop_regex=None temperature=1.0
top_p=1.0 top_k=-1 min_p=0.0 frequency_penalty=0.0 presence_penalty=0.0 ignore_eos=False
return_logprob=None logprob_start_len=None top_logprobs_num=None return_text_in_logprobs=None"""

# What SGLang's signatures say: parameters in order, with "=default" where there is one.
SIGNATURES: list[tuple[Callable[..., Any], str]] = [
    (sgl.function, "func=None num_api_spec_tokens=None"),
    (sgl.gen, GEN),
    (sgl.gen_int, GEN_TYPED),
    (sgl.gen_string, GEN_TYPED),
    (sgl.select, "name=None choices=None temperature=0.0 choices_method=token_length_normalized"),
    (sgl.image, "expr"),
    (sgl.video, "path num_frames"),
    (sgl.system, "expr=None"),
    (sgl.user, "expr=None"),
    (sgl.assistant, "expr=None"),
    (sgl.system_begin, ""),
    (sgl.system_end, ""),
    (sgl.user_begin, ""),
    (sgl.user_end, ""),
    (sgl.assistant_begin, ""),
    (sgl.assistant_end, ""),
    (sgl.separate_reasoning, "expr=None model_type=None"),
    (sgl.set_default_backend, "backend"),
    (sgl.flush_cache, "backend=None"),
    (sgl.get_server_info, "backend=None"),
    (sgl.SglFunction.run, f"*args {SAMPLING} stream=False backend=None use_thread=True **kwargs"),
    (
        sgl.SglFunction.run_batch,
        f"batch_kwargs {SAMPLING} backend=None num_threads=auto progress_bar=False "
        "generator_style=False",
    ),
    (sgl.SglFunction.bind, "**kwargs"),
    (sgl.SglFunction.trace, "backend=None **kwargs"),
    (sgl.SglFunction.cache, "backend=None"),
    (sgl.ProgramState.system, "expr=None"),
    (sgl.ProgramState.user, "expr=None"),
    (sgl.ProgramState.assistant, "expr=None"),
    (sgl.ProgramState.copy, ""),
    (sgl.ProgramState.fork, "size=1 position_ids_offset=None"),
    (sgl.ProgramState.text, ""),
    (sgl.ProgramState.messages, ""),
    (sgl.ProgramState.sync, ""),
    (sgl.ProgramState.error, ""),
    (sgl.ProgramState.var_scope, "name"),
    (sgl.ProgramState.text_iter, "var_name=None"),
    (sgl.ProgramState.text_async_iter, "var_name=None return_meta_data=False"),
    (sgl.ProgramState.get_var, "name"),
    (sgl.ProgramState.set_var, "name value"),
    (sgl.ProgramState.get_meta_info, "name"),
    (ProgramStateGroup.join, "mode=gather_variable"),
    (StreamExecutor.end, ""),
    (sgl.RuntimeEndpoint, "base_url api_key=None verify=None chat_template_name=None"),
    (sgl.Runtime, "log_level=error launch_timeout=300.0"),
    (sgl.OpenAI, "model_name is_chat_model=None chat_template=None is_azure=False"),
    (sgl.Anthropic, "model_name"),
    (sgl.VertexAI, "model_name safety_settings=None"),
]


def described(function: Callable[..., Any]) -> list[str]:
    parameters = list(inspect.signature(function).parameters.values())
    return [_described(one) for one in parameters if one.name != "self"]


def _described(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    if parameter.default is parameter.empty:
        return parameter.name
    default = parameter.default
    if default is sgl.token_length_normalized:
        default = "token_length_normalized"
    return f"{parameter.name}={default}"


@pytest.mark.parametrize(
    ("function", "expected"), SIGNATURES, ids=lambda x: getattr(x, "__qualname__", "")
)
def test_parameters_are_those_of_sglang(function: Callable[..., Any], expected: str) -> None:
    """In their order, with nothing of ours between them, so that positions mean the same."""
    wanted = expected.split()
    given = described(function)
    by_name = [one for one in wanted if one.startswith("**")]
    named = wanted[: len(wanted) - len(by_name)]
    assert given[: len(named)] == named
    assert by_name == [] or given[-1] == by_name[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_package_has_sglangs_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "LiteLLM":
        # Its import asks the network for prices else.
        monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        pytest.importorskip("litellm")
    assert name in sgl.__all__
    assert getattr(sgl, name) is not None


def test_run_names_its_options_once() -> None:
    for function in (sgl.SglFunction.run, sgl.SglFunction.run_batch):
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in RUN_OPTIONS} == RUN_OPTIONS


def test_an_argument_of_an_options_name_goes_by_position() -> None:
    @sgl.function
    def program(s: sgl.ProgramState, n: int, seed: int) -> None:
        s += f"{n} {seed}"

    backend = Silent()
    assert program.run(3, seed=4, backend=backend).text() == "3 4"
    assert program.bind(n=5).run(seed=6, backend=backend).text() == "5 6"
    assert program.run_batch([{"n": 1, "seed": 2}], backend=backend)[0].text() == "1 2"
    with pytest.raises(TypeError, match="n is an option of run"):
        program.run(n=3, seed=4, backend=backend)


class Silent(NativeBackend):
    """Is asked for nothing."""

    _generate = _stream = _score_choices = _render = None  # type: ignore[assignment]
    model_name = "silent"
