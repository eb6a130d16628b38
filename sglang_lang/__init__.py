"""A Python language for programs that call LLMs: ``import sglang_lang as sgl``.

What needs further packages (backends) is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api import (
    assistant,
    assistant_begin,
    assistant_end,
    flush_cache,
    function,
    gen,
    gen_int,
    gen_string,
    get_server_info,
    image,
    select,
    separate_reasoning,
    set_default_backend,
    system,
    system_begin,
    system_end,
    user,
    user_begin,
    user_end,
    video,
)
from .choices import (
    ChoicesDecision,
    ChoicesSamplingMethod,
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)
from .config import global_config
from .errors import BackendError, ProgramError, UnknownVariableError
from .interpreter import ProgramState
from .sgl_function import SglFunction

if TYPE_CHECKING:
    from .backends.anthropic_api import Anthropic
    from .backends.engine import Engine
    from .backends.litellm_api import LiteLLM
    from .backends.openai_api import Crusoe, OpenAI
    from .backends.runtime_endpoint import RuntimeEndpoint
    from .backends.server_process import Runtime
    from .backends.vertexai_api import VertexAI
    from .runtime.server_args import ServerArgs
    from .version import __version__

__all__ = [
    "Anthropic",
    "BackendError",
    "ChoicesDecision",
    "ChoicesSamplingMethod",
    "Crusoe",
    "Engine",
    "LiteLLM",
    "OpenAI",
    "ProgramError",
    "ProgramState",
    "Runtime",
    "RuntimeEndpoint",
    "ServerArgs",
    "SglFunction",
    "UnknownVariableError",
    "VertexAI",
    "__version__",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "flush_cache",
    "function",
    "gen",
    "gen_int",
    "gen_string",
    "get_server_info",
    "global_config",
    "greedy_token_selection",
    "image",
    "select",
    "separate_reasoning",
    "set_default_backend",
    "system",
    "system_begin",
    "system_end",
    "token_length_normalized",
    "unconditional_likelihood_normalized",
    "user",
    "user_begin",
    "user_end",
    "video",
]

_LAZY = {
    "Anthropic": ".backends.anthropic_api",
    "Crusoe": ".backends.openai_api",
    "Engine": ".backends.engine",
    "LiteLLM": ".backends.litellm_api",
    "OpenAI": ".backends.openai_api",
    "Runtime": ".backends.server_process",
    "RuntimeEndpoint": ".backends.runtime_endpoint",
    "ServerArgs": ".runtime.server_args",
    "VertexAI": ".backends.vertexai_api",
    "__version__": ".version",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
