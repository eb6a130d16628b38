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
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)
from .config import global_config
from .errors import BackendError, ProgramError, UnknownVariableError
from .interpreter import ProgramState
from .ir import SglFunction

if TYPE_CHECKING:
    from .backends.engine import Engine
    from .backends.runtime_endpoint import RuntimeEndpoint
    from .runtime.server_args import ServerArgs
    from .version import __version__

__all__ = [
    "BackendError",
    "Engine",
    "ProgramError",
    "ProgramState",
    "RuntimeEndpoint",
    "ServerArgs",
    "SglFunction",
    "UnknownVariableError",
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
    "Engine": ".backends.engine",
    "RuntimeEndpoint": ".backends.runtime_endpoint",
    "ServerArgs": ".runtime.server_args",
    "__version__": ".version",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
