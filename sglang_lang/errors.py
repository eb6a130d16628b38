"""What goes wrong in a program.

ProgramError              something in a program failed; names the program's line
└── UnknownVariableError  the program has, and will have, no variable of that name
BackendError              a backend refused or lost a request
"""

from __future__ import annotations


class ProgramError(RuntimeError):
    """A program failed; the message ends with the line of the program that asked for it."""


class CommandError(RuntimeError):
    """A command cannot do what its flags ask; the message names the flag or the file."""


class UnknownVariableError(ProgramError, KeyError):
    """No gen, select or assignment of the program has this name."""

    def __str__(self) -> str:
        return str(self.args[0])


def check_on_error(on_error: str) -> None:
    """ValueError for anything but the two ways to meet failed runs and forks."""
    if on_error not in ("raise", "return"):
        raise ValueError(f"on_error must be raise or return, got {on_error!r}")


class BackendError(RuntimeError):
    """A backend could not serve a request.

    Args:
        message: what it said.
        status: the HTTP status, None where there was none.
        retry_after: seconds to wait before another try, if it said so.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
