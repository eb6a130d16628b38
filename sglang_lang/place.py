"""Where a program is, for the messages of its errors."""

from __future__ import annotations

import sys

from .errors import ProgramError

# A turn of ``with s.user():`` begins and ends by way of contextlib.
_BETWEEN = (__name__.partition(".")[0], "contextlib")


def program_line() -> str:
    """The nearest frame outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_BETWEEN):
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_name} ({code.co_filename}:{frame.f_lineno})"


def failure(error: BaseException, line: str = "") -> ProgramError:
    """An error as a program's, with the line that asked for what failed."""
    if isinstance(error, ProgramError):
        return error
    place = f"\n  in {line}" if line else ""
    told = ProgramError(f"{type(error).__name__}: {error}{place}")
    told.__cause__ = error
    return told
