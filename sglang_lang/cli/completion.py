"""``sglang-lang completion``: a script that completes commands and flags in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..extras import needs


def add_to(commands: Any, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """``parser`` makes the command line that is completed."""
    text = "print a script that completes commands and flags in a shell"
    command = commands.add_parser("completion", help=text, description=text)
    command.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"))
    command.set_defaults(command=lambda args: complete(parser(), args.shell))


def complete(parser: argparse.ArgumentParser, shell: str) -> int:
    with needs("runtime"):
        import shtab
    print(shtab.complete(parser, shell))
    return 0
