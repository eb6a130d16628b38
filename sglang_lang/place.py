"""Where a program is, for the messages of its errors."""

from __future__ import annotations

import sys
import traceback
from types import CodeType

from .errors import ProgramError

# A turn of ``with s.user():`` begins and ends by way of contextlib.
_BETWEEN = (__name__.partition(".")[0], "contextlib")


def program_line() -> str:
    """The nearest frame outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_BETWEEN):
        frame = frame.f_back
    return _line(frame.f_code, frame.f_lineno)


def _raising_line(error: BaseException) -> str:
    """The line of the program that an exception came by, or "" if it came by none."""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if not frame.f_globals.get("__name__", "").startswith(_BETWEEN):
            return _line(frame.f_code, number)
    return ""


def _line(code: CodeType, number: int) -> str:
    return f"{code.co_name} ({code.co_filename}:{number})"


def failure(error: BaseException, line: str = "") -> ProgramError:
    """An error as a program's, with the line that asked for what failed.

    Args:
        error: it.
        line: empty for an exception of the program's own code, which tells its line itself.
    """
    if isinstance(error, ProgramError):
        return error
    line = line or _raising_line(error)
    place = f"\n  in {line}" if line else ""
    told = ProgramError(f"{type(error).__name__}: {error}{place}")
    told.__cause__ = error
    return told
