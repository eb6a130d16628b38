"""The server's command line and its configuration file, both made from the fields of ServerArgs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import yaml

from .errors import ServerArgsError
from .server_args import ServerArgs

PROG = "python -m sglang_lang.launch_server"


def parse_args(argv: Sequence[str]) -> ServerArgs:
    """Command line to arguments; those of ``--config FILE`` hold where the line says nothing else.

    Raises:
        ServerArgsError: an unknown flag, or a value that is not allowed.
    """
    parser = make_parser()
    config = vars(parser.parse_args(argv)).pop("config")
    from_file = [] if config is None else list(_flags_of(_read(Path(config))))
    values = vars(parser.parse_args([*from_file, *argv]))
    del values["config"]
    return ServerArgs(**values)


def make_parser() -> argparse.ArgumentParser:
    """One flag for each field, and ``--config``."""
    parser = _OneLineParser(
        prog=PROG,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE.yaml", help="flags by name, without their dashes in front"
    )
    hints = get_type_hints(ServerArgs)
    for item in fields(ServerArgs):
        names = [f"--{item.name.replace('_', '-')}", *item.metadata.get("aliases", ())]
        parser.add_argument(
            *names,
            dest=item.name,
            default=item.default,
            help=item.metadata["help"].replace("%", "%%"),
            **_argument_type(hints[item.name]),
        )
    return parser


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ServerArgsError(message)


class _Several(argparse.Action):
    """Values of a flag that may also be repeated."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), *values))


def _argument_type(hint: Any) -> dict[str, Any]:
    if hint is bool:
        return {"action": "store_true"}
    if get_origin(hint) is tuple:
        return {"nargs": "+", "action": _Several}
    kinds = [hint] if get_origin(hint) is Literal else list(get_args(hint)) or [hint]
    kind = next(kind for kind in kinds if kind is not type(None))
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    return {"type": kind}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ServerArgsError(f"--config {path} cannot be read: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ServerArgsError(f"--config {path} must be lines of `flag: value`")
    return values


def _flags_of(values: Mapping[str, Any]) -> Iterator[str]:
    """As they would be written on the command line; false and null are flags left out."""
    for name, value in values.items():
        if value is None or value is False:
            continue
        yield f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            yield from map(str, value)
        elif value is not True:
            yield str(value)
