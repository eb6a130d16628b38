"""The exceptions of the runtime.

SGLangError
├── RequestError          the user's request is wrong: HTTP 4xx, the field is named
│   └── PromptTooLongError    more tokens than the context or the KV pool can ever hold
├── ModelLoadError        a checkpoint is missing, broken or of an unknown architecture
├── ServerArgsError       a flag, or a combination of flags, cannot work
├── CapacityError         the queue is full: HTTP 429
└── EngineDeadError       the scheduler process is gone: HTTP 503
"""

from __future__ import annotations


class SGLangError(Exception):
    """Base of every error this package raises on purpose."""


class RequestError(SGLangError):
    """A request that cannot be served as it was written.

    Args:
        message: says what is wrong, with the value, and what is allowed.
        param: name of the offending field as the client spelled it.
        status: the HTTP status, 400 unless said otherwise.
        code: OpenAI's machine-readable code, such as ``model_not_found``.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.code = code


class PromptTooLongError(RequestError):
    """The prompt (plus what must be generated) exceeds what the server can ever hold."""

    def __init__(self, message: str, *, param: str | None = "input_ids") -> None:
        super().__init__(message, param=param, code="context_length_exceeded")


class ModelLoadError(SGLangError):
    """The checkpoint cannot be loaded; the message names the file and what to do."""


class ServerArgsError(SGLangError):
    """A flag cannot work; the message names the flag and what is allowed."""


class CapacityError(SGLangError):
    """The waiting queue is full; the client should retry later."""


class EngineDeadError(SGLangError):
    """The scheduler that held this request has died."""
