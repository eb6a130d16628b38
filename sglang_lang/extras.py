"""Optional packages: a missing one becomes an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtraError(ImportError):
    """A package of an extra is not installed; the message is the command that installs it."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Imports inside this block need the packages of ``sglang-lang[extra]``.

    Raises:
        MissingExtraError: a package of someone else's is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__:
            raise
        raise MissingExtraError(
            f"{error.name} is not installed: pip install 'sglang-lang[{extra}]'", name=error.name
        ) from None
